from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client

from firmware.recipient import PrivateKey
from flow.models import Customer, Role, Sensor, Site, User
from tests.flow.devices import Device


@pytest.fixture(scope="session")
def recipient() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture
def customer(db: None) -> Customer:
    return Customer.objects.create(
        name="Nordlys", contact="privacy@example.com", second_factor="nobody"
    )


@pytest.fixture
def stranger(db: None) -> Customer:
    return Customer.objects.create(name="Somebody else", second_factor="nobody")


@pytest.fixture
def site(customer: Customer) -> Site:
    return Site.objects.create(customer=customer, name="Oslo", slug="oslo")


@pytest.fixture
def other_site(customer: Customer) -> Site:
    return Site.objects.create(customer=customer, name="Bergen", slug="bergen")


@pytest.fixture
def foreign_site(stranger: Customer) -> Site:
    return Site.objects.create(customer=stranger, name="Elsewhere", slug="elsewhere")


@pytest.fixture
def device(site: Site) -> Device:
    """A sensor with a real identity, registered at the site."""
    made = Device("sensor-1", ec.generate_private_key(ec.SECP256R1()))
    Sensor.objects.create(
        device=made.name, name="Entrance", site=site, certificates=made.certificate()
    )
    return made


@pytest.fixture
def person(customer: Customer) -> Callable[..., User]:
    def make(role: str = Role.VIEWER, *sites: Site, of: Customer = customer) -> User:
        number = User.objects.count()
        user = User.objects.create_user(
            f"user{number}@example.com", "correct horse battery", customer=of, role=role
        )
        user.sites.set(sites)
        return user

    return make


@pytest.fixture
def browse() -> Callable[[User], Client]:
    def logged_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return logged_in


@pytest.fixture
def noon() -> datetime:
    """A Wednesday, one o'clock in Oslo."""
    return datetime(2026, 5, 20, 11, 0, tzinfo=timezone.utc)
