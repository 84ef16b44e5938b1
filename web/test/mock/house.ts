// Sites, vaults, policies, monitors, extensions, what happened, and who may do what, of the made-up controller.
import type { Schemas } from '../../src/api/client';
import { past } from './data';

export const sites = (): Schemas['Site'][] => [
  { name: 'east', provider: 'qemu', config: { dir: '/srv/east' } },
  { name: 'west', provider: 'qemu', config: { dir: '/srv/west' } },
  { name: 'france', provider: 'azure', config: { subscription: '00000000-0000-0000-0000-000000000000', 'resource-group': 'shop-east', location: 'francecentral' } },
];

export const vaults = (): Schemas['Vault'][] => [
  { name: 'main', url: 's3://vault/understudy?endpoint=https://s3.example.com&region=eu-1', keyFile: '/var/lib/understudy/keys/main.key' },
  { name: 'archive', url: 'file:///srv/archive', keyFile: '/var/lib/understudy/keys/archive.key' },
];

export const usage = (vault: string): Schemas['VaultUsage'] => ({
  vault, at: past(130), ageSeconds: 130, bytes: vault === 'main' ? 1_240_000_000_000 : 830_000_000_000, objects: 18233, freeBytes: vault === 'main' ? undefined : 170_000_000_000,
  groups: [{ group: 'shop', bytes: 420_000_000_000, objects: 8123 }],
});

export const machines = (query: URLSearchParams = new URLSearchParams()): Schemas['MachineRow'][] => {
  const row = (name: string, more: Partial<Schemas['MachineRow']> = {}): Schemas['MachineRow'] => ({
    name, site: 'east', provider: 'qemu', power: 'on', cpus: 2, memoryMiB: 4096, disks: 1, diskBytes: 12_884_901_888, observed: past(3), ...more,
  });
  const shop = { group: 'shop', state: 'protected', health: 'healthy', replicating: 'current', recoverability: 'proven', loseSeconds: 2.4 } as const;
  const silent = { site: 'west', power: 'unknown', observed: past(1900), problem: 'list machines of site west: connect: no route to host' } as const;
  const all = [
    row('shop-db', { ...shop, cpus: 4, memoryMiB: 8192, disks: 2, diskBytes: 220 * 2 ** 30 }), row('shop-web', shop),
    row('payroll-1', { ...shop, group: 'payroll', health: 'critical', replicating: 'failing', loseSeconds: 1843 }), row('spare', { power: 'off' }), row('build-7'),
    row('archive-1', { ...silent, group: 'archive', health: 'warning', replicating: 'current', recoverability: 'proven-stale', loseSeconds: 1240 }), row('lab-3', silent),
    ...Array.from({ length: query.get('q') === 'tenant' ? 5000 : 0 }, (_, i) => row(`tenant-${String(i + 1).padStart(4, '0')}`, { ...shop, group: `tenant-${i % 900}` })),
  ];
  const is = (key: string, value: string | undefined) => !query.get(key) || query.get(key) === value;
  return all.filter((m) => m.name.includes(query.get('q') ?? '') && is('site', m.site) && is('power', m.power) && is('health', m.health) && is('protected', m.group ? 'yes' : 'no'));
};

export const examination = (): Schemas['Examination'] => ({
  findings: [
    { check: 'access', status: 'ok', message: 'the folder can be read and written' },
    { check: 'acceleration', status: 'warn', message: '/dev/kvm is not there: machines run slowly', remedy: 'turn virtualisation on in the firmware' },
  ],
});

export const policies = (): Schemas['Policy'][] => [
  { name: 'gold', rpo: '5s', keep: 'all for 1h, 5m for 1d, 1h for 7d', appEvery: '1h', freezeTimeout: '5s' },
  { name: 'silver', rpo: '15m', keep: '1h for 7d, 1d for 30d' },
];

export const effective = (name: string): Schemas['EffectivePolicy'] => ({
  policy: policies().find((p) => p.name === name) ?? policies()[0]!, points: 1175, groups: ['shop', 'orders'],
  sentences: ['A recovery point every 5s.', 'All are kept for 1h, then one per 5m for a day, then one per hour for a week.', 'One per hour is application consistent.'],
});

const tree: Schemas['OperationStep'][] = [
  {
    index: '1', name: 'Cloud Update', status: 'Error', started: past(7800), ended: past(5400), steps: [
      { index: '1.1', name: 'Download', status: 'Success', started: past(7800), ended: past(7200) },
      { index: '1.2', name: 'Update hosts', status: 'Error', started: past(7200), ended: past(5400), message: 'Type "RestartHost" of role "BareMetal" raised an exception: the host node-3 did not come back within 30 minutes.' },
      { index: '1.3', name: 'Update agents', status: 'NotStarted' },
    ],
  },
];

export const monitors = (): Schemas['Monitor'][] => [
  {
    name: 'stack', site: 'stack', every: '1m', patience: 3, looked: past(20), way: 'the administrator’s API', operations: [
      { id: 'run/1', title: 'Run of Azure Stack Hub update 1.2311.1.12', version: '1.2311.1.12', state: 'Failed', outcome: 'failed', started: past(7800), durationSeconds: 2400, step: 'Cloud Update > Update hosts', message: 'the host node-3 did not come back within 30 minutes', steps: tree },
      { id: 'update/2', title: 'Azure Stack Hub update 1.2301.2.58', version: '1.2301.2.58', state: 'Installed', outcome: 'succeeded' },
    ],
  },
];

export const inventories = (): Schemas['Inventory'][] => [
  {
    group: 'shop', site: 'east', machine: 'shop-db', observed: past(12), extensions: [
      { name: 'metrics-agent', version: '1.2', status: 'healthy', heartbeat: past(9) },
      { name: 'AzureMonitorLinuxAgent', version: '1.33', status: 'unresponsive', heartbeat: past(86400), message: 'no heartbeat for a day' },
    ] as Schemas['Inventory']['extensions'],
  },
];

export const catalogue = (): Schemas['CatalogueEntry'][] => [{ name: 'metrics-agent', version: '1.2', description: 'Sends heartbeats to the collector of its site', heartbeat: 'collector', handlers: {}, builtin: true }];

export const audit = (): Schemas['AuditEntry'][] => [
  { sequence: 41, time: past(600), actor: 'aiko', method: 'password', address: '192.0.2.7', operation: 'failover', verb: 'failover', object: 'group:mail', result: 'done', status: 202, run: 'r-104', hash: 'ab12' },
  { sequence: 40, time: past(900), actor: 'jean', method: 'oidc', address: '192.0.2.9', operation: 'unprotect', verb: 'unprotect', object: 'group:shop', result: 'waits', status: 202, hash: 'cd34', approval: 'a-7' },
  { sequence: 39, time: past(1200), actor: 'ci', method: 'token', operation: 'put-policy', verb: 'configure', result: 'refused', status: 403, hash: 'ef56', detail: 'role viewer does not allow configure' },
];

export const channels = (): Schemas['Channel'][] => [
  { name: 'ops', kind: 'slack', secret: 'file:/etc/understudy/slack-url' },
  { name: 'mail', kind: 'smtp', url: 'smtp://mail.example.com:587', from: 'understudy@example.com', to: ['ops@example.com'] },
];

export const rules = (): Schemas['NotificationRule'][] => [{ name: 'night', channels: ['ops'], topics: ['failover', 'split-brain'], severity: 'critical' }];

export const notifications = (): Schemas['Notification'][] => [
  { number: 3, id: 'n-3', time: past(120), source: 'group payroll', kind: 'problem', topic: 'lag', severity: 'critical', subject: 'payroll: 31 min behind, the objective is 5 s', channel: 'ops', state: 'sent', attempts: 1, sent: past(119), group: 'payroll' },
  { number: 2, id: 'n-2', time: past(7100), source: 'group archive', kind: 'failure', topic: 'drill', severity: 'warning', subject: 'archive: the drill failed', channel: 'mail', state: 'dead', attempts: 80, problem: 'dial tcp: lookup mail.example.com: no such host', group: 'archive' },
];

export const users = (): Schemas['User'][] => [
  { name: 'aiko', grants: [{ role: 'admin', scope: '*' }], created: past(86400 * 90), lastLogin: past(3600), hasPassword: true },
  { name: 'jean', grants: [{ role: 'operator', scope: 'site:france' }, { role: 'viewer', scope: '*' }], created: past(86400 * 20), hasPassword: false },
];

export const tokens = (): Schemas['Token'][] => [{ name: 'ci', grants: [{ role: 'drill-runner', scope: 'group:shop' }], owner: 'aiko', created: past(86400 * 3), expires: past(-86400 * 87) }];

export const approvals = (): Schemas['Approval'][] => [{ id: 'a-7', state: 'wanted', about: 'stop protecting shop', verb: 'unprotect', group: 'shop', by: 'jean', mine: false, requested: past(900), expires: past(-2700) }];
