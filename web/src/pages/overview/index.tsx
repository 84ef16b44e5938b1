import { Group, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconAlertTriangleFilled, IconCircleXFilled, IconHandStop, IconHelpCircleFilled, IconShieldCheckFilled, IconShieldOff, IconUrgent, IconUsers } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { Schemas } from '../../api/client';
import { useConnection } from '../../api/connection';
import { useAnswer, useGet } from '../../api/query';
import { useMay } from '../../api/session';
import { follow, Link } from '../../app/router';
import { links } from '../../app/links';
import { names } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import type { Tone } from '../../ui/badge';
import { Empty } from '../../ui/empty';
import { factWords, healthTone, recoverabilityTone, replicationTone } from '../../ui/facts';
import { useFormat } from '../../ui/format';
import { Loaded, Page, Section } from '../../ui/page';
import { RunFact, type RunState, RunTitle, said } from '../../ui/run';
import { Time } from '../../ui/time';
import { overview } from './messages';

type View = Schemas['Overview'];

export default function Overview() {
  const w = useMessages(overview);
  const pages = useMessages(names);
  const asked = useGet('/v1/overview');
  return (
    <Page title={w.title}>
      <Loaded from={asked}>
        {(o) =>
          o.groups === 0 ? (
            <Empty
              title={w.emptyTitle}
              action={
                <Group gap="lg" justify="center">
                  <Link to="/sites">{pages.sites}</Link>
                  <Link to="/machines">{pages.machines}</Link>
                </Group>
              }
              cmd="understudy site add east --provider qemu --set dir=/srv/east"
            >
              {w.emptyText}
            </Empty>
          ) : (
            <Board o={o} />
          )
        }
      </Loaded>
    </Page>
  );
}

function Board({ o }: { o: View }) {
  const fw = useMessages(factWords);
  return (
    <Stack gap="md">
      <Verdict o={o} />
      <SimpleGrid cols={{ base: 1, md: 3 }} spacing="md">
        <Counts
          title={fw.health}
          param="health"
          parts={[
            ['critical', o.health.critical], ['warning', o.health.warning], ['unknown', o.health.unknown], ['healthy', o.health.healthy],
          ]}
          tones={healthTone}
        />
        <Counts
          title={fw.replication}
          param="replicating"
          parts={[
            ['fenced', o.replication.fenced], ['failing', o.replication.failing], ['late', o.replication.late], ['unknown', o.replication.unknown],
            ['paused', o.replication.paused], ['seeding', o.replication.seeding], ['off', o.replication.off], ['current', o.replication.current],
          ]}
          tones={replicationTone}
        />
        <Counts
          title={fw.recoverability}
          param="recoverability"
          parts={[
            ['not-recoverable', o.recoverability.notRecoverable], ['never-proven', o.recoverability.neverProven],
            ['proven-stale', o.recoverability.provenStale], ['proven', o.recoverability.proven],
          ]}
          tones={recoverabilityTone}
        />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
        <Needs o={o} />
        <Worst o={o} />
        <Runs runs={o.activeRuns} />
        <Vaults vaults={o.vaults} />
      </SimpleGrid>
    </Stack>
  );
}

/** The answer to the question that somebody woken at night has. */
function Verdict({ o }: { o: View }) {
  const w = useMessages(overview);
  const f = useFormat();
  const { reachable } = useConnection();
  const bad = o.health.critical + o.health.warning + o.health.unknown;
  // Replicating well is not being safe: that takes a proof.
  const unproven = o.groups - o.recoverability.proven;
  const tone: Tone = !reachable ? 'idle' : o.health.critical || o.splitBrains.length ? 'bad' : bad || unproven || o.waitingRuns.length ? 'warn' : 'good';
  const Icon = { idle: IconHelpCircleFilled, busy: IconHelpCircleFilled, bad: IconCircleXFilled, warn: IconAlertTriangleFilled, good: IconShieldCheckFilled }[tone];
  return (
    <section className="sheet" aria-live="polite">
      <Group gap="md" wrap="nowrap" align="center">
        <Icon size={44} className={tone} aria-hidden style={{ flex: 'none' }} />
        <div className="grow">
          <Text fw={680} fz={{ base: 'lg', sm: 'xl' }} lh={1.25}>
            {!reachable ? w.unknown : bad ? w.attention(bad, o.groups, f.number) : unproven ? w.unproven(unproven, o.groups, f.number) : w.safe(o.groups, f.number)}
          </Text>
          <Text size="sm" className="dim">
            {reachable ? (
              <>
                {w.asOf} <Time at={o.at} short />
              </>
            ) : (
              w.unknownText
            )}
          </Text>
        </div>
      </Group>
    </section>
  );
}

function Counts<K extends string>({ title, param, parts, tones }: { title: string; param: string; parts: [K, number][]; tones: Record<K, Tone> }) {
  const fw = useMessages(factWords) as unknown as Record<string, string>;
  const f = useFormat();
  const { reachable } = useConnection();
  const shown = parts.filter(([, n]) => n > 0);
  const tone = (k: K): Tone => (reachable ? tones[k] : 'idle');
  return (
    <Section title={title}>
      <div className="bar" aria-hidden style={{ marginBottom: 10 }}>
        {shown.map(([k, n]) => (
          <span key={k} className={`bg-${tone(k)}`} style={{ flexGrow: n }} />
        ))}
      </div>
      <Stack gap={2}>
        {shown.map(([k, n]) => (
          <a key={k} className="tile" href={`/groups?${param}=${k}`} onClick={follow(`/groups?${param}=${k}`)}>
            <Group justify="space-between" wrap="nowrap">
              <Group gap={8} wrap="nowrap">
                <span className={`dot bg-${tone(k)}`} aria-hidden />
                <Text size="sm">{fw[k]}</Text>
              </Group>
              <Text size="sm" fw={650}>
                {f.number(n)}
              </Text>
            </Group>
          </a>
        ))}
      </Stack>
    </Section>
  );
}

function Line({ icon, tone, to, title, children }: { icon: ReactNode; tone: Tone; to?: string; title: ReactNode; children: ReactNode }) {
  return (
    <Group gap="sm" wrap="nowrap" align="flex-start">
      <span className={tone} style={{ flex: 'none', lineHeight: 0, paddingTop: 2 }}>
        {icon}
      </span>
      <div className="grow">
        <Text size="sm" fw={600}>
          {to ? <Link to={to}>{title}</Link> : title}
        </Text>
        <Text size="sm" className="dim" style={{ overflowWrap: 'anywhere' }}>
          {children}
        </Text>
      </div>
    </Group>
  );
}

/** What goes on only when a person does something. */
function Needs({ o }: { o: View }) {
  const w = useMessages(overview);
  const f = useFormat();
  const { reachable } = useConnection();
  const open = useAnswer('/v1/machines', { query: { protected: 'no', limit: 1 } }).data;
  const unprotected = open?.total ?? open?.data.length ?? 0;
  const may = useMay();
  const approvals = (useGet('/v1/approvals', {}, { enabled: may('read') }).data ?? []).filter((a) => a.state === 'wanted').length;
  const busy = new Set([...o.activeRuns, ...o.waitingRuns].map((r) => r.group));
  const more = o.health.critical - o.splitBrains.length - o.critical.length;
  const none = o.critical.length + o.waitingRuns.length + o.splitBrains.length + o.drillsOverdue.length + o.monitorsInAlarm.length + o.undecided.length + approvals + unprotected === 0;
  return (
    <Section title={w.needs}>
      <Stack gap="sm">
        {none && (
          <Text size="sm" className="dim">
            {reachable ? w.nothingWaits : w.unknown}
          </Text>
        )}
        {o.splitBrains.map((s) => (
          <Line key={s.group} icon={<IconUrgent size={20} />} tone="bad" to={links.group(s.group)} title={`${s.group}: ${w.splitBrains}`}>
            {w.splitText(s.machines.join(', '))}
          </Line>
        ))}
        {o.critical.map((c) => (
          <Line key={c.group} icon={<IconCircleXFilled size={20} />} tone={reachable ? 'bad' : 'idle'} to={links.group(c.group)} title={`${c.group}: ${w.critical}`}>
            {c.reason}
            {c.hint && ` · ${c.hint}`}
            {c.replicating === 'failing' && !busy.has(c.group) && c.loseSeconds !== undefined && (
              <>
                {' · '}
                <Link to={links.failover(c.group, { kind: 'unplanned' })} underline="always">
                  {w.failOver(f.duration(Math.floor(c.loseSeconds)))}
                </Link>
              </>
            )}
          </Line>
        ))}
        {o.critical.length > 0 && more > 0 && (
          <Link to="/groups?health=critical" fz="sm">
            {w.moreCritical(more)}
          </Link>
        )}
        {o.waitingRuns.map((r) => (
          <Line key={r.id} icon={<IconHandStop size={20} />} tone="warn" to={links.run(r.id)} title={`${r.group || r.about}: ${w.waiting}`}>
            {said(r.message)} · <Time at={r.started ?? r.requested} ago />
          </Line>
        ))}
        {o.undecided.map((u) => (
          <Line key={u.group} icon={<IconHandStop size={20} />} tone="warn" to={links.group(u.group)} title={`${u.group}: ${w.decide}`}>
            {w[u.state]}
          </Line>
        ))}
        {o.undecidedCount > o.undecided.length && (
          <Link to="/groups" fz="sm">
            {w.moreUndecided(o.undecidedCount - o.undecided.length)}
          </Link>
        )}
        {approvals > 0 && (
          <Line icon={<IconUsers size={20} />} tone="warn" to="/settings?tab=approvals" title={w.approvals(approvals)}>
            {w.approvalsText}
          </Line>
        )}
        {o.drillsOverdue.map((d) => (
          <Line key={d.group} icon={<IconAlertTriangleFilled size={20} />} tone="warn" to={links.group(d.group)} title={`${d.group}: ${w.overdue}`}>
            {w.overdueText(f.duration(d.overdueSeconds), f.duration(d.limitSeconds))}
          </Line>
        ))}
        {o.monitorsInAlarm.map((m) => (
          <Line key={m.name} icon={<IconAlertTriangleFilled size={20} />} tone="warn" to="/monitors" title={`${m.name}: ${w.monitors}`}>
            {m.site}
          </Line>
        ))}
        {unprotected > 0 && (
          <Line icon={<IconShieldOff size={20} />} tone="warn" to="/machines?protected=no" title={w.unprotected(f.number(unprotected))}>
            {w.unprotectedText}
          </Line>
        )}
      </Stack>
    </Section>
  );
}

function Worst({ o }: { o: View }) {
  const w = useMessages(overview);
  const f = useFormat();
  const { reachable } = useConnection();
  // Against its own objective; four times that and more fill the bar.
  const share = (l: View['worstLag'][number]) => Math.min(1, l.loseSeconds / Math.max(1, l.rpoSeconds) / 4);
  return (
    <Section title={w.worst} aside={<Link to="/groups?sort=lag" fz="sm">{w.allGroups}</Link>}>
      <Text size="xs" className="dim" mb="xs">
        {w.worstText}
      </Text>
      <Stack gap={8}>
        {o.worstLag.map((l) => {
          const tone: Tone = !reachable ? 'idle' : l.loseSeconds <= l.rpoSeconds ? 'good' : l.health === 'critical' ? 'bad' : 'warn';
          return (
            <a key={l.group} className="tile" href={links.group(l.group)} onClick={follow(links.group(l.group))}>
              <Group justify="space-between" wrap="nowrap" gap="xs">
                <Text size="sm" fw={550} className="cut">
                  {l.group}
                </Text>
                <Text size="sm" className={tone} style={{ flex: 'none' }}>
                  {w.lose(f.duration(Math.floor(l.loseSeconds)), f.duration(l.rpoSeconds))}
                </Text>
              </Group>
              <div className="bar" aria-hidden style={{ height: 4, marginTop: 3 }}>
                <span className={`bg-${tone}`} style={{ width: `${Math.max(1, share(l) * 100)}%` }} />
              </div>
            </a>
          );
        })}
      </Stack>
    </Section>
  );
}

function Runs({ runs }: { runs: View['activeRuns'] }) {
  const w = useMessages(overview);
  const { reachable } = useConnection();
  return (
    <Section title={w.running}>
      {runs.length === 0 ? (
        <Text size="sm" className="dim">
          {reachable ? w.nothingRuns : w.unknown}
        </Text>
      ) : (
        <Stack gap="xs">
          {runs.map((r) => {
            const to = links.run(r.id);
            return (
              <a key={r.id} className="tile" href={to} onClick={to ? follow(to) : undefined}>
                <Group justify="space-between" wrap="nowrap">
                  <div className="grow">
                    <RunTitle run={r} />
                    <Text size="xs" className="dim">
                      <Time at={r.started ?? r.requested} ago /> {r.by && `· ${r.by}`}
                    </Text>
                  </div>
                  <RunFact state={r.state as RunState} />
                </Group>
              </a>
            );
          })}
        </Stack>
      )}
    </Section>
  );
}

function Vaults({ vaults }: { vaults: View['vaults'] }) {
  const w = useMessages(overview);
  const f = useFormat();
  return (
    <Section title={w.vaults}>
      {vaults.length === 0 ? (
        <Text size="sm" className="dim">
          {w.noVaults}
        </Text>
      ) : (
        <Stack gap="xs">
          {vaults.map((v) => (
            <Group key={v.name} justify="space-between" wrap="nowrap" align="flex-start">
              <div className="grow">
                <Text size="sm" fw={550}>
                  {links.vault(v.name) ? <Link to={links.vault(v.name) ?? '/'}>{v.name}</Link> : v.name}
                </Text>
                <Text size="xs" className="dim cut" title={v.url}>
                  {v.url}
                </Text>
              </div>
              <Text size="sm" style={{ flex: 'none' }}>
                {w.groups(v.groups)}
                <Text span size="xs" className="dim" display="block" ta="end">
                  {v.bytes === undefined ? w.notCounted : w.held(f.bytes(v.bytes))}
                  {v.freeBytes !== undefined && ` · ${w.free(f.bytes(v.freeBytes))}`}
                </Text>
              </Text>
            </Group>
          ))}
        </Stack>
      )}
    </Section>
  );
}
