"""Manufacturing: boards become sensors with an identity, a label and a record of how they did."""
