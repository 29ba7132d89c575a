// What is kept: PostgreSQL in a private network, the recipient's key in Key Vault, checkpoints.
param location string
param unique string
param principal string
@secure()
param databasePassword string

resource network 'Microsoft.Network/virtualNetworks@2024-01-01' = {
  name: '${unique}-network'
  location: location
  properties: {
    addressSpace: { addressPrefixes: ['10.20.0.0/16'] }
    subnets: [
      {
        name: 'apps'
        properties: {
          addressPrefix: '10.20.0.0/23'
          delegations: [{ name: 'apps', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'database'
        properties: {
          addressPrefix: '10.20.4.0/28'
          delegations: [{ name: 'database', properties: { serviceName: 'Microsoft.DBforPostgreSQL/flexibleServers' } }]
        }
      }
    ]
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2020-06-01' = {
  name: '${unique}.private.postgres.database.azure.com'
  location: 'global'
  resource link 'virtualNetworkLinks' = {
    name: 'network'
    location: 'global'
    properties: { registrationEnabled: false, virtualNetwork: { id: network.id } }
  }
}

resource database 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: '${unique}-db'
  location: location
  dependsOn: [zone::link]
  sku: { name: 'Standard_D2ds_v5', tier: 'GeneralPurpose' }
  properties: {
    version: '15'
    administratorLogin: 'flow'
    administratorLoginPassword: databasePassword
    storage: { storageSizeGB: 128, autoGrow: 'Enabled' }
    backup: { backupRetentionDays: 14, geoRedundantBackup: 'Disabled' }
    highAvailability: { mode: 'ZoneRedundant' }
    network: {
      delegatedSubnetResourceId: '${network.id}/subnets/database'
      privateDnsZoneArmResourceId: zone.id
    }
  }
  resource flow 'databases' = { name: 'flow', properties: { charset: 'UTF8', collation: 'C.UTF-8' } }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: take('${unique}vault', 24)
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
  }
}
// Key Vault Secrets User
resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principal, 'secrets')
  scope: vault
  properties: {
    principalId: principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: take('${unique}marks', 24)
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_ZRS' }
  properties: { allowBlobPublicAccess: false, allowSharedKeyAccess: false, minimumTlsVersion: 'TLS1_2', supportsHttpsTrafficOnly: true }
  resource blobs 'blobServices' = {
    name: 'default'
    resource checkpoints 'containers' = { name: 'checkpoints' }
  }
}
// Storage Blob Data Contributor
resource marks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, principal, 'blobs')
  scope: storage
  properties: {
    principalId: principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
  }
}

output appsSubnet string = '${network.id}/subnets/apps'
output databaseHost string = database.properties.fullyQualifiedDomainName
output vaultUri string = vault.properties.vaultUri
output blobEndpoint string = storage.properties.primaryEndpoints.blob
