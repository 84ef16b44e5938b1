// Runs with their steps, recovery points and plans of the made-up controller.
import type { Schemas } from '../../src/api/client';
import { past, runs } from './data';

type Step = Schemas['Step'];

const step = (name: string, state: string, from: number, to?: number, more: Partial<Step> = {}): Step => ({
  name, title: name, state, attempts: 1, started: past(from), ended: to === undefined ? undefined : past(to), ...more,
});

export const run = (id: string): Schemas['Run'] => {
  const listed = runs().find((r) => r.id === id);
  if (id === 'r-90')
    return {
      id, kind: 'planned-failover', group: 'orders', state: 'succeeded', requested: past(800), started: past(799), ended: past(740), by: 'aiko', point: 'latest', plan: 'orders',
      result: { point: '3-00000112', rtoSeconds: 14.2, rpoSeconds: 0.4 },
      steps: [
        step('find the newest recovery point of orders', 'succeeded', 799, 798), step('shut down orders-web at east', 'succeeded', 798, 792, { message: 'not possible now, done when it is seen there (site east does not answer)' }), step('shut down orders-db at east', 'succeeded', 792, 781),
        step('copy the last changes of orders', 'succeeded', 781, 779), step('make west the owner of orders in vault main', 'succeeded', 779, 778), step('create orders-db at west', 'succeeded', 778, 777), step('create orders-web at west', 'succeeded', 778, 776),
        step('start orders-db at west', 'succeeded', 776, 775), step('wait for tcp on port 7000 of orders-db', 'succeeded', 775, 768, { attempts: 3 }), step('start orders-web at west', 'succeeded', 768, 767), step('wait for http on port 80 of orders-web', 'succeeded', 767, 764),
        step('copy the disks of orders-db from the vault to west', 'succeeded', 764, 741), step('copy the disks of orders-web from the vault to west', 'succeeded', 764, 749),
      ],
    };
  if (id === 'r-103') return { ...listed!, hint: 'understudy run show r-103', steps: [step('create archive-1 at west', 'succeeded', 7199, 7190), step('start archive-1 at west', 'succeeded', 7190, 7189), step('wait for tcp on port 7000 of archive-1', 'failed', 7189, 7100, { error: 'no answer on tcp 7000 within 2m0s', hint: 'look at the console below', attempts: 2 })] };
  return {
    ...listed!, id, steps: [
      step('go ahead: wait for approval', listed?.state === 'waiting' ? 'waiting' : 'succeeded', 40, listed?.state === 'waiting' ? undefined : 30),
      ...(listed?.state === 'waiting' ? [] : [step('copy the disks of shop-db from the vault to west', 'running', 30, undefined, { done: 4_500_000_000, total: 12_000_000_000, rate: 110_000_000, eta: '1m8s' })]),
    ],
  };
};

export const question = (run: string): Schemas['Question'] => ({
  run, action: 'go ahead', message: 'Has the DNS of mail.example.com been moved?', answers: ['approve', 'reject'], asked: past(590), until: past(-3000), ways: `understudy run approve ${run}`,
});

const action = (name: string, kind: Schemas['PlanAction']['kind'], summary: string, conditions?: string): Schemas['PlanAction'] => ({ name, kind, summary, conditions });

const blocks: Schemas['PlanBlock'][] = [
  { kind: 'before', machines: [], before: [action('go ahead', 'approval', 'wait for approval', 'only planned, unplanned')], after: [] },
  { kind: 'stage', stage: 'data', machines: ['shop-db'], before: [], after: [action('database answers', 'probe', 'wait for TCP on port 7000 of shop-db'), action('check the data', 'guest', 'run in shop-db: /usr/local/bin/check-shop --quick', 'asks when it fails; tried 4 times')] },
  { kind: 'stage', stage: 'front', machines: ['shop-web-1', 'shop-web-2'], before: [], after: [] },
  { kind: 'after', machines: [], before: [], after: [action('extensions', 'extensions', 'restore the extensions of all machines'), action('switch the name', 'http', 'PUT https://dns.example.com/example.net/shop', 'tried 6 times')] },
];

const text = `name: shop
group: shop
description: Bring the shop up at its other site.
before:
  - name: go ahead
    approval: {message: "Move \${run.group} to \${run.target}?"}
    timeout: 1h
stages:
  - name: data
    machines: [shop-db]
  - name: front
    machines: [shop-web-1, shop-web-2]
`;

const plan = (name: string, needsVerification: boolean): Schemas['Plan'] => ({ name, group: name, version: 4, updated: past(86400 * 2), needsVerification, verifiedVersion: needsVerification ? 3 : 4, verifiedAt: past(86400), verifiedRun: 'r-80' });

export const plans = (): Schemas['Plan'][] => [plan('orders', true), plan('shop', false)];

export const planDetail = (name: string): Schemas['PlanDetail'] => ({ ...plan(name, name === 'orders'), shownVersion: 4, by: 'aiko', text, outline: '', mermaid: '', dot: '', blocks });

export const planHistory = (): Schemas['PlanHistory'] => ({
  versions: [4, 3, 2, 1].map((version) => ({ version, created: past(86400 * (6 - version)), by: 'aiko' })),
  runs: [{ ...run('r-90'), steps: undefined, planVersion: 4 }],
});

export const group = (name: string): Schemas['Group'] => ({
  name, site: 'east', target: 'west', vault: 'main', policy: 'gold',
  machines: [
    { name: `${name}-db`, order: 1, probe: { kind: 'tcp', port: 7000 } },
    { name: `${name}-web`, order: 2, probe: { kind: 'http', port: 80, path: '/' } },
  ],
});

export const check = (sent: { text?: string }): Schemas['PlanCheck'] => ({
  name: 'shop', group: 'shop', warnings: [], blocks,
  problems: sent.text?.includes('!') ? [{ line: 2, column: 1, field: 'group', what: 'there is no group "shop!"', hint: 'understudy status', text: 'plan.yaml:2:1: group: there is no group "shop!"' }] : [],
});

export const preview = (group: string, sent: { kind?: string }): Schemas['Preview'] => ({
  kind: sent.kind === 'test' ? 'test-failover' : sent.kind === 'planned' ? 'planned-failover' : 'failover', group, source: 'east', target: 'west', direction: 'failover', point: { id: '1-00000999', time: past(2.4), kind: 'crash' }, loseSeconds: 2.4,
  machines: [
    { name: `${group}-db`, as: `${group}-db`, loseSeconds: 2.4, original: false, rtoSeconds: 9.5 },
    { name: `${group}-web`, as: `${group}-web`, loseSeconds: 2.4, original: false, rtoSeconds: 14.2 },
  ],
  steps: ['take recovery point 1-00000999', 'make west the owner of the group', `start ${group}-db, and wait for tcp 7000`, `start ${group}-web, and wait for http 80`, 'copy the disks to west while the machines run'], rtoSeconds: 14.2, rtoFrom: 'drill r-80',
  warnings: ['east answers: a planned failover would lose nothing'],
  checks: [{ machine: `${group}-db`, name: 'fstab', state: 'warning', message: '/etc/fstab mounts /dev/vda1 by its device name', remedy: 'in the machine: use UUID=... of `blkid /dev/vda1`' }],
});
