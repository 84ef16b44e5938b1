// What the made-up controller has: groups in every state that the console has words for.
import type { Schemas } from '../../src/api/client';

const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
export const past = ago;

type Status = Schemas['Status'];

const base = (group: string, more: Partial<Status> = {}): Status => ({
  group, site: 'east', target: 'west', vault: 'main', state: 'protected', replication: 'idle', rpoSeconds: 5, rpoMet: true,
  health: 'healthy', replicating: 'current', recoverability: 'proven',
  loseSeconds: 2.4, knownGood: ago(2.4), lastPoint: '1-00000042', nextDue: ago(-3),
  lastCycle: { kind: 'delta', point: '1-00000042', read: 3_400_000, changed: 1_900_000, stored: 820_000, pausedSeconds: 0.012, seconds: 0.42, consistency: 'crash' },
  provenAt: ago(3 * 86400), provenPoint: '1-00000007', provenRTOSeconds: 14.2, allowed: ['pause', 'planned-failover', 'failover', 'disable', 'test-failover'],
  ...more,
});

export const statuses = (): Status[] => [
  base('payroll', { health: 'critical', healthReason: 'replication failed 7 times in a row', replicating: 'failing',
    rpoMet: false, loseSeconds: 1843, failures: 7, error: 'replicate payroll to vault main: write segment 812: no space left on device',
    hint: 'understudy vault stats main; shorten the retention, or give the vault more space',
  }),
  base('orders', { health: 'critical', healthReason: 'machines run at two sites', replicating: 'off', state: 'failed-over', site: 'west', target: 'east', liveSince: ago(740), loseSeconds: 740, rpoMet: false, splitBrain: ['east/orders-db'], run: 'r-91', allowed: ['keep-owner', 'keep-former'] }),
  base('crm', { health: 'warning', healthReason: 'the newest recovery point is older than the objective', replicating: 'late', recoverability: 'never-proven', rpoMet: false, loseSeconds: 47, provenAt: undefined, provenRTOSeconds: undefined, provenPoint: undefined }),
  base('shop'),
  base('mail', { health: 'warning', healthReason: 'a run waits for a person', replicating: 'off', waiting: 'r-104', waitingFor: 'Has the DNS of mail.example.com been moved?', state: 'planned-failover' }),
  base('wiki', { replicating: 'seeding', recoverability: 'not-recoverable', state: 'seeding', replication: 'seeding', loseSeconds: undefined, knownGood: undefined, lastPoint: undefined, provenAt: undefined, provenRTOSeconds: undefined, rpoMet: false,
    progress: { phase: 'seed', done: 23_400_000_000, total: 64_424_509_440 } }),
  base('build-farm', { health: 'warning', healthReason: 'replication is paused', replicating: 'paused', state: 'paused', replication: 'paused', loseSeconds: 86400 * 2, rpoSeconds: 3600, rpoMet: false }),
  base('archive', { health: 'warning', healthReason: 'the last proof is 120 days old', recoverability: 'proven-stale', rpoSeconds: 3600, loseSeconds: 1240, site: 'west', target: 'east', provenAt: ago(120 * 86400), provenRTOSeconds: 95 }),
];

/** As many groups as a large house has. */
export const many = (n: number): Status[] => [
  ...statuses(),
  ...Array.from({ length: n }, (_, i) => base(`tenant-${String(i + 1).padStart(4, '0')}`, { loseSeconds: (i * 7) % 5, site: i % 3 ? 'east' : 'west', target: i % 3 ? 'west' : 'east' })),
];

export const runs = (): Schemas['Run'][] => [
  { id: 'r-104', kind: 'planned-failover', group: 'mail', state: 'waiting', message: 'Has the DNS of mail.example.com been moved?', requested: ago(600), started: ago(598), by: 'aiko' },
  { id: 'r-105', kind: 'drill', group: 'shop', state: 'running', requested: ago(42), started: ago(41), by: 'schedule' },
  { id: 'r-103', kind: 'drill', group: 'archive', state: 'failed', requested: ago(7200), started: ago(7199), ended: ago(7100), error: 'probe archive-1: no answer on tcp 7000 within 2m0s', by: 'schedule' },
];

export const overview = (): Schemas['Overview'] => ({
  at: ago(1), groups: 8, staleSeconds: 60,
  health: { critical: 2, warning: 4, unknown: 0, healthy: 2 },
  replication: { fenced: 0, failing: 1, late: 1, unknown: 0, paused: 1, seeding: 1, off: 2, current: 2 },
  recoverability: { notRecoverable: 1, neverProven: 1, provenStale: 1, proven: 5 },
  worstLag: statuses().filter((s) => s.loseSeconds !== undefined).sort((a, b) => (b.loseSeconds ?? 0) - (a.loseSeconds ?? 0))
    .map((s) => ({ group: s.group, loseSeconds: s.loseSeconds ?? 0, rpoSeconds: s.rpoSeconds, health: s.health })),
  critical: statuses().filter((s) => s.health === 'critical' && s.group !== 'orders').map((s) => ({ group: s.group, reason: s.healthReason ?? '', replicating: s.replicating, loseSeconds: s.loseSeconds })),
  activeRuns: runs().filter((r) => r.state === 'running'), waitingRuns: runs().filter((r) => r.state === 'waiting'),
  undecided: [{ group: 'billing', state: 'failed-over' }, { group: 'intranet', state: 'committed' }, { group: 'ledger', state: 'test-running' }], undecidedCount: 4,
  drillsOverdue: [{ group: 'archive', overdueSeconds: 120 * 86400, limitSeconds: 90 * 86400, provenAt: ago(120 * 86400) }],
  splitBrains: [{ group: 'orders', machines: ['east/orders-db'] }],
  vaults: [{ name: 'main', url: 's3://understudy-main?endpoint=https://objects.example.com', groups: 6, at: ago(300), bytes: 1_840_000_000_000 }, { name: 'cold', url: 'file:///srv/cold', groups: 2, at: ago(300), bytes: 412_000_000_000, freeBytes: 88_000_000_000 }],
  links: links(), monitorsInAlarm: [],
});

/** A day in the life of a group: quiet nights, a backup at three that makes it late. */
export const history = (from: number, to: number, points: number): Schemas['HistorySample'][] => {
  const step = (to - from) / points;
  return Array.from({ length: points }, (_, i) => {
    const t = from + i * step;
    const hour = new Date(t).getHours() + new Date(t).getMinutes() / 60;
    const work = Math.max(0, Math.sin(((hour - 6) / 14) * Math.PI));
    const noise = Math.abs(Math.sin(i * 12.9898) * 43758.5453) % 1;
    const late = Math.abs(hour - 3) < 0.6 ? 9 : 0;
    const changed = (2e6 + work * 9e7 + late * 4e7) * (0.5 + noise);
    return { time: new Date(t).toISOString(), lagSeconds: 1.6 + work * 2 * noise + late * (0.6 + noise * 0.5), changedBytes: changed, storedBytes: changed * 0.42, readBytes: changed * 1.1,
      cycleSeconds: 0.3 + work * noise, cycles: 12, failures: 0 };
  });
};

export const points = (): Schemas['RecoveryPoint'][] => {
  const at = [
    ...Array.from({ length: 60 }, (_, i) => i * 5), ...Array.from({ length: 55 }, (_, i) => 300 + i * 60), ...Array.from({ length: 24 }, (_, i) => 3600 * (i + 1)),
    ...Array.from({ length: 12 }, (_, i) => 86400 * (i + 2)),
  ];
  return at.map((age, i): Schemas['RecoveryPoint'] => ({
    id: `1-${String(100_000 - age).padStart(8, '0')}`, group: 'shop', time: ago(age + 2.4), kind: age % 3600 === 0 ? 'application' : age % 300 === 0 ? 'filesystem' : 'crash',
    machines: ['shop-db', 'shop-web'], bytes: 820_000 + ((i * 7919) % 60) * 110_000, changed: 1_900_000 + ((i * 104729) % 90) * 160_000, size: 12 * 2 ** 30, base: age === 86400 * 13 || undefined,
    position: { epoch: 1, sequence: 100_000 - age }, names: age === 86400 * 3 ? ['before-upgrade'] : age === 7200 ? ['quarter-end'] : undefined,
  })).reverse();
};

export const machines = (): Schemas['Machine'][] => [
  { name: 'shop-db', cpus: 4, memoryMiB: 8192, power: 'on', agent: true, disks: [{ name: 'kernel', size: 12 * 2 ** 20, format: 'raw', role: 'kernel' }, { name: 'root', size: 20 * 2 ** 30, format: 'qcow2', path: 'images/shop-db.qcow2' }, { name: 'data', size: 200 * 2 ** 30, format: 'raw', path: 'images/shop-db-data.raw' }], nics: [{ network: 'prod', mac: '52:54:00:11:22:33' }, { network: 'access', mac: '52:54:00:11:22:40', forwards: [{ hostPort: 40022, guestPort: 22 }] }], boot: { cmdline: 'root=/dev/vda1' } },
  { name: 'shop-web', cpus: 2, memoryMiB: 4096, power: 'on', disks: [{ name: 'root', size: 20 * 2 ** 30, format: 'qcow2' }], nics: [{ network: 'prod', mac: '52:54:00:11:22:34' }] },
];

export const inventories = (): Schemas['Inventory'][] => [
  { group: 'shop', site: 'east', machine: 'shop-db', observed: ago(30), extensions: [
    { name: 'metrics-agent', publisher: 'understudy', version: '1.4', status: 'healthy', heartbeat: ago(12) }, { name: 'antivirus', version: '7.2', status: 'failed', message: 'signatures are 12 days old' }] },
  { group: 'shop', site: 'east', machine: 'shop-web', observed: ago(30), extensions: [{ name: 'metrics-agent', publisher: 'understudy', version: '1.4', status: 'healthy', heartbeat: ago(9) }] },
];

export const events = (group = 'shop'): Schemas['Event'][] => [
  { sequence: 912, time: ago(41), kind: 'run.started', group, run: 'r-105', message: `drill of ${group} began` },
  { sequence: 880, time: ago(3 * 86400), kind: 'run.ended', group, run: 'r-77', message: `drill of ${group} succeeded: booted in 14.2 s` },
  { sequence: 871, time: ago(3 * 86400 + 200), kind: 'lag.back', group, message: 'within its objective again after 2m10s' },
  { sequence: 870, time: ago(3 * 86400 + 330), kind: 'lag.over', group, message: 'would lose 12 s, the objective is 5 s' },
];

export const links = (): Schemas['VaultLink'][] => [
  { site: 'east', vault: 'main', target: 'west', groups: 5, health: 'critical', loseSeconds: 1843 },
  { site: 'west', vault: 'archive', target: 'east', groups: 2, health: 'healthy', loseSeconds: 12 },
  { site: 'france', vault: 'main', target: 'west', groups: 1, health: 'warning', loseSeconds: 340 },
];
