// What the made-up controller has: groups in every state that the console has words for.
import type { Schemas } from '../../src/api/client';

const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
export const past = ago;

type Status = Schemas['Status'];

const base = (group: string, more: Partial<Status> = {}): Status => ({
  group, site: 'east', target: 'west', vault: 'main', state: 'protected', replication: 'idle', rpoSeconds: 5, rpoMet: true,
  loseSeconds: 2.4, knownGood: ago(2.4), lastPoint: '1-00000042', nextDue: ago(-3),
  lastCycle: { kind: 'delta', point: '1-00000042', read: 3_400_000, changed: 1_900_000, stored: 820_000, pausedSeconds: 0.012, seconds: 0.42, consistency: 'crash' },
  provenAt: ago(3 * 86400), provenPoint: '1-00000007', provenRTOSeconds: 14.2,
  ...more,
});

export const statuses = (): Status[] => [
  base('payroll', {
    rpoMet: false, loseSeconds: 1843, failures: 7, error: 'replicate payroll to vault main: write segment 812: no space left on device',
    hint: 'understudy vault stats main; shorten the retention, or give the vault more space',
  }),
  base('orders', { state: 'failed-over', site: 'west', target: 'east', liveSince: ago(740), loseSeconds: 740, rpoMet: false, splitBrain: ['east/orders-db'], run: 'r-91' }),
  base('crm', { rpoMet: false, loseSeconds: 47, provenAt: undefined, provenRTOSeconds: undefined, provenPoint: undefined }),
  base('shop'),
  base('mail', { waiting: 'r-104', waitingFor: 'Has the DNS of mail.example.com been moved?', state: 'planned-failover' }),
  base('wiki', { state: 'seeding', replication: 'seeding', loseSeconds: undefined, knownGood: undefined, lastPoint: undefined, provenAt: undefined, provenRTOSeconds: undefined, rpoMet: false,
    progress: { phase: 'seed', done: 23_400_000_000, total: 64_424_509_440 } }),
  base('build-farm', { state: 'paused', replication: 'paused', loseSeconds: 86400 * 2, rpoSeconds: 3600, rpoMet: false }),
  base('archive', { rpoSeconds: 3600, loseSeconds: 1240, site: 'west', target: 'east', provenAt: ago(120 * 86400), provenRTOSeconds: 95 }),
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
