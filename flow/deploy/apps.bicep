// What runs: the web application, four ingest workers, and two jobs, all from one image.
param location string
param name string
param image string
param registryServer string
param identityId string
param clientId string
param ingestReplicas int
param subnet string
param settings array
@secure()
param databaseUrl string
@secure()
param secretKey string
@secure()
param smtpPassword string

var secrets = [
  { name: 'database-url', value: databaseUrl }
  { name: 'secret-key', value: secretKey }
  { name: 'smtp-password', value: smtpPassword }
]
var environmentVariables = concat(settings, [
  { name: 'AZURE_CLIENT_ID', value: clientId }
  { name: 'FLOW_DATABASE_URL', secretRef: 'database-url' }
  { name: 'FLOW_SECRET_KEY', secretRef: 'secret-key' }
  { name: 'FLOW_SMTP_PASSWORD', secretRef: 'smtp-password' }
])
var registries = [{ server: registryServer, identity: identityId }]
var identity = { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  properties: { sku: { name: 'PerGB2018' }, retentionInDays: 30 }
}

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: '${name}-environment'
  location: location
  properties: {
    vnetConfiguration: { infrastructureSubnetId: subnet }
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: { customerId: logs.properties.customerId, sharedKey: logs.listKeys().primarySharedKey }
    }
  }
}

resource web 'Microsoft.App/containerApps@2024-03-01' = {
  name: '${name}-web'
  location: location
  identity: identity
  properties: {
    environmentId: environment.id
    configuration: {
      secrets: secrets
      registries: registries
      ingress: { external: true, targetPort: 8000, allowInsecure: false, transport: 'http' }
    }
    template: {
      containers: [
        {
          name: 'web'
          image: image
          env: environmentVariables
          resources: { cpu: json('1.0'), memory: '2Gi' }
          probes: [
            {
              type: 'Readiness'
              // The probe speaks to the container directly; Django answers known hosts only.
              httpGet: { path: '/healthz', port: 8000, httpHeaders: [{ name: 'Host', value: settings[0].value }] }
              periodSeconds: 10
            }
          ]
        }
      ]
      scale: { minReplicas: 2, maxReplicas: 6, rules: [{ name: 'requests', http: { metadata: { concurrentRequests: '20' } } }] }
    }
  }
}

resource ingest 'Microsoft.App/containerApps@2024-03-01' = {
  name: '${name}-ingest'
  location: location
  identity: identity
  properties: {
    environmentId: environment.id
    configuration: { secrets: secrets, registries: registries }
    template: {
      containers: [
        {
          name: 'ingest'
          image: image
          command: ['python', '-m', 'flow', 'ingest', '--event-hub']
          env: environmentVariables
          resources: { cpu: json('0.5'), memory: '1Gi' }
        }
      ]
      scale: { minReplicas: ingestReplicas, maxReplicas: ingestReplicas }
    }
  }
}

resource jobs 'Microsoft.App/jobs@2024-03-01' = [
  for job in [
    { name: 'setup', cron: '', command: ['python', '-m', 'flow', 'migrate'] }
    { name: 'forget', cron: '10 2 * * *', command: ['python', '-m', 'flow', 'forget'] }
    { name: 'reports', cron: '0 5 * * *', command: ['python', '-m', 'flow', 'send_reports'] }
    { name: 'twins', cron: '*/10 * * * *', command: ['python', '-m', 'flow', 'twins'] }
  ]: {
    name: '${name}-${job.name}'
    location: location
    identity: identity
    properties: {
      environmentId: environment.id
      configuration: {
        secrets: secrets
        registries: registries
        replicaTimeout: 1800
        triggerType: empty(job.cron) ? 'Manual' : 'Schedule'
        scheduleTriggerConfig: empty(job.cron) ? null : { cronExpression: job.cron, parallelism: 1, replicaCompletionCount: 1 }
        manualTriggerConfig: empty(job.cron) ? { parallelism: 1, replicaCompletionCount: 1 } : null
      }
      template: {
        containers: [
          { name: job.name, image: image, command: job.command, env: environmentVariables, resources: { cpu: json('0.5'), memory: '1Gi' } }
        ]
      }
    }
  }
]

output address string = 'https://${web.properties.configuration.ingress.fqdn}'
