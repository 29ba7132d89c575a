// The devices' side: IoT Hub, its provisioning service, and an event hub that the records go to.
param location string
param unique string
param units int
param principal string

// IoT Hub's built-in endpoint knows no managed identity; records are routed to an event hub of
// our own, which does, so that the application holds no key of the hub.
resource events 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: '${unique}events'
  location: location
  sku: { name: 'Standard', tier: 'Standard', capacity: 1 }
  properties: { disableLocalAuth: true, minimumTlsVersion: '1.2', isAutoInflateEnabled: true, maximumThroughputUnits: 4 }
  resource records 'eventhubs' = {
    name: 'records'
    properties: { partitionCount: 8, messageRetentionInDays: 7 }
    resource group 'consumergroups' = { name: 'flow' }
  }
}

resource hub 'Microsoft.Devices/IotHubs@2023-06-30' = {
  name: '${unique}hub'
  location: location
  identity: { type: 'SystemAssigned' }
  sku: { name: 'S1', capacity: units }
  properties: {
    minTlsVersion: '1.2'
    disableLocalAuth: false // DPS enters devices with the hub's key; nothing else holds it
    routing: {
      endpoints: {
        eventHubs: [
          {
            name: 'records'
            endpointUri: 'sb://${events.name}.servicebus.windows.net'
            entityPath: 'records'
            authenticationType: 'identityBased'
          }
        ]
      }
      routes: [
        { name: 'records', source: 'DeviceMessages', condition: 'true', endpointNames: ['records'], isEnabled: true }
      ]
      fallbackRoute: { name: 'fallback', source: 'DeviceMessages', condition: 'true', endpointNames: ['events'], isEnabled: true }
    }
  }
}

resource dps 'Microsoft.Devices/provisioningServices@2022-12-12' = {
  name: '${unique}dps'
  location: location
  sku: { name: 'S1', capacity: 1 }
  properties: {
    allocationPolicy: 'Hashed'
    iotHubs: [
      {
        location: location
        connectionString: 'HostName=${hub.properties.hostName};SharedAccessKeyName=iothubowner;SharedAccessKey=${hub.listkeys().value[0].primaryKey}'
      }
    ]
  }
}

// Azure Event Hubs Data Sender for the hub, Data Receiver for the application
resource sends 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(events.id, 'sender')
  scope: events
  properties: {
    principalId: hub.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '2b629674-e913-4c01-ae53-ef4638d8f975')
  }
}
resource receives 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(events.id, principal, 'receiver')
  scope: events
  properties: {
    principalId: principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde')
  }
}
// IoT Hub Twin Contributor: the fleet page reads and writes twins, and nothing else
resource twins 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hub.id, principal, 'twins')
  scope: hub
  properties: {
    principalId: principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '494bdba2-168f-4f31-a0a1-191d2f7c028c')
  }
}

output host string = hub.properties.hostName
output idScope string = dps.properties.idScope
output eventHubNamespace string = '${events.name}.servicebus.windows.net'
output eventHubName string = 'records'
