// FLOW in one EU region: IoT Hub with DPS, PostgreSQL, Key Vault, Container Apps.
// az deployment group create -g flow -f flow/deploy/main.bicep -p @parameters.json
targetScope = 'resourceGroup'

@description('An EU region; data stays in it.')
@allowed(['norwayeast', 'swedencentral', 'westeurope', 'northeurope', 'germanywestcentral', 'francecentral'])
param location string = 'norwayeast'
@minLength(3)
@maxLength(12)
param name string = 'flow'
@description('Image of flow/deploy/Dockerfile, by digest: registry/flow@sha256:…')
param image string
param registryServer string
param host string
param mailFrom string
param smtpHost string
param smtpUser string
@secure()
param smtpPassword string
@secure()
param databasePassword string
@secure()
@minLength(40)
param secretKey string
@description('Messages of 4 KB a day: S1 takes 400,000 for each unit.')
param hubUnits int = 1
param ingestReplicas int = 4

var unique = '${name}${uniqueString(resourceGroup().id)}'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-app'
  location: location
}

module hub 'hub.bicep' = {
  name: 'hub'
  params: { location: location, unique: unique, units: hubUnits, principal: identity.properties.principalId }
}

module data 'data.bicep' = {
  name: 'data'
  params: {
    location: location
    unique: unique
    principal: identity.properties.principalId
    databasePassword: databasePassword
  }
}

module apps 'apps.bicep' = {
  name: 'apps'
  params: {
    location: location
    name: name
    image: image
    registryServer: registryServer
    identityId: identity.id
    clientId: identity.properties.clientId
    ingestReplicas: ingestReplicas
    subnet: data.outputs.appsSubnet
    databaseUrl: 'postgresql://flow:${uriComponent(databasePassword)}@${data.outputs.databaseHost}/flow?sslmode=verify-full&sslrootcert=system'
    secretKey: secretKey
    smtpPassword: smtpPassword
    settings: [
      { name: 'FLOW_HOSTS', value: host }
      { name: 'FLOW_BASE_URL', value: 'https://${host}' }
      { name: 'FLOW_MAIL_FROM', value: mailFrom }
      { name: 'FLOW_SMTP_HOST', value: smtpHost }
      { name: 'FLOW_SMTP_USER', value: smtpUser }
      { name: 'FLOW_IOT_HUB', value: hub.outputs.host }
      { name: 'FLOW_EVENT_HUB_NAMESPACE', value: hub.outputs.eventHubNamespace }
      { name: 'FLOW_EVENT_HUB_NAME', value: hub.outputs.eventHubName }
      { name: 'FLOW_EVENT_HUB_GROUP', value: 'flow' }
      { name: 'FLOW_CHECKPOINT_ACCOUNT', value: data.outputs.blobEndpoint }
      { name: 'FLOW_RECIPIENT_KEYS', value: '${data.outputs.vaultUri}secrets/recipient' }
    ]
  }
}

output hubHost string = hub.outputs.host
output idScope string = hub.outputs.idScope
output site string = apps.outputs.address
output vault string = data.outputs.vaultUri
