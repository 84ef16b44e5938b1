// One machine of one site: what would be lost with it, what it is made of, and what can be done with it.
import { Group, SimpleGrid, Stack, Text } from '@mantine/core';
import type { Schemas } from '../../api/client';
import { useGet } from '../../api/query';
import { links } from '../../app/links';
import { Link } from '../../app/router';
import type { PageProps } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import { Fact } from '../../ui/badge';
import { Cli, quote } from '../../ui/cli';
import { Empty } from '../../ui/empty';
import { HealthFact, Lose, RecoverabilityFact, ReplicationFact } from '../../ui/facts';
import { useFormat } from '../../ui/format';
import { Loaded, Page, Section } from '../../ui/page';
import { PowerFact } from '../../ui/power';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { Events, Extensions } from '../group/details';
import { Actions } from './actions';
import { machine as words } from './messages';

type Row = Schemas['MachineRow'];

export default function MachinePage({ params }: PageProps) {
  const w = useMessages(words);
  const [site, name] = [params.site ?? '', params.machine ?? ''];
  // Its name may be part of others.
  const rows = useGet('/v1/machines', { query: { site, q: name, limit: 5000 } });
  const row = rows.data?.find((m) => m.name === name);
  const told = useGet('/v1/sites/{name}/machines', { path: { name: site } });
  const machine = told.data?.find((m) => m.name === name);
  const fences = useGet('/v1/fences');
  const fence = fences.data?.find((f) => f.site === site && f.machine === name);
  return (
    <Page
      title={name}
      sites={[site]}
      way={[{ to: '/machines', label: w.machines }, { to: `/machines?site=${encodeURIComponent(site)}`, label: site }]}
      badges={row && <PowerFact value={row.power} title={row.problem} />}
      actions={row && <Actions row={row} machine={machine} />}
    >
      <Loaded from={{ ...rows, data: rows.data && { row } }}>
        {({ row }) =>
          row ? (
            <Stack gap="md">
              <Notes row={row} fence={fence} />
              {row.group ? <Protected row={row} group={row.group} at={rows.dataUpdatedAt} /> : null}
              <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
                <Hardware row={row} machine={machine} />
                <Networks nics={machine?.nics} known={!!machine} />
              </SimpleGrid>
              {machine && <Disks disks={machine.disks} />}
              {row.group && (
                <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
                  <Extensions name={row.group} machine={name} />
                  <Events name={row.group} />
                </SimpleGrid>
              )}
              <Cli cmd={`understudy machine show ${quote(name)} --site ${quote(site)}`} />
            </Stack>
          ) : (
            <Empty title={w.gone} cmd="understudy machine list">
              {w.goneText(name, site)}
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}

function Notes({ row, fence }: { row: Row; fence?: Schemas['Fence'] }) {
  const w = useMessages(words);
  return (
    <>
      {row.problem && (
        <div className="note warn" role="alert">
          <Text fw={600} className="warn">{w.silent}</Text>
          <Text size="sm" style={{ overflowWrap: 'anywhere' }}>{row.problem}</Text>
        </div>
      )}
      {fence && (
        <div className={`note ${fence.splitBrain ? 'bad' : 'warn'}`}>
          <Text fw={600} className={fence.splitBrain ? 'bad' : 'warn'}>{fence.splitBrain ? w.split : w.held}</Text>
          <Text size="sm">
            {w.heldText(fence.group)} <Link to={links.group(fence.group)} underline="always" c="inherit">{fence.group}</Link>
          </Text>
        </div>
      )}
      {!row.group && !fence && (
        <div className="note warn">
          <Text fw={600} className="warn">{w.unprotected}</Text>
          <Text size="sm">{w.unprotectedText}</Text>
        </div>
      )}
    </>
  );
}

/** What its group says: three facts, and what would be lost. */
function Protected({ row, group, at }: { row: Row; group: string; at: number }) {
  const w = useMessages(words);
  const f = useFormat();
  const status = useGet('/v1/groups/{name}/status', { path: { name: group } }).data;
  return (
    <Section>
      <Group justify="space-between" gap="lg">
        <div>
          <Text size="sm" className="dim">{w.failNow}</Text>
          <div className="big" style={{ margin: '2px 0' }}>
            <Lose seconds={row.loseSeconds} at={at} />
          </div>
          {status && <Text size="sm" className="dim">{w.objective(f.duration(status.rpoSeconds))}</Text>}
        </div>
        <Stack gap={6}>
          <Group gap={6}>
            {row.health && <HealthFact value={row.health} title={status?.healthReason} />}
            {row.replicating && <ReplicationFact value={row.replicating} />}
            {row.recoverability && <RecoverabilityFact value={row.recoverability} />}
          </Group>
          <Text size="sm">
            {w.group} <Link to={links.group(group)}>{group}</Link> · <Link to={links.points(group)}>{w.points}</Link>
          </Text>
        </Stack>
      </Group>
    </Section>
  );
}

function Hardware({ row, machine: m }: { row: Row; machine?: Schemas['Machine'] }) {
  const w = useMessages(words);
  const f = useFormat();
  const site = links.site(row.site);
  const run = row.owner ? links.run(row.owner) : undefined;
  const pairs: [string, React.ReactNode][] = [
    [w.site, <>{site ? <Link to={site} underline="always">{row.site}</Link> : row.site} <span className="dim">{row.provider}</span></>],
    [w.state, row.observed ? <><PowerFact value={row.power} /> <span className="dim"><Time at={row.observed} ago /></span></> : w.neverSeen],
  ];
  if (row.cpus) pairs.push([w.cpus, f.number(row.cpus)]);
  if (row.memoryMiB) pairs.push([w.memory, f.bytes(row.memoryMiB * 2 ** 20)]);
  if (m) {
    pairs.push([w.firmware, m.disks.some((d) => d.role === 'kernel') ? w.kernel : (m.boot?.firmware || 'bios').toUpperCase()]);
    pairs.push([w.agent, m.agent ? w.yes : w.no]);
  }
  if (row.owner) pairs.push([w.owner, run ? <Link to={run}>{row.owner}</Link> : row.owner]);
  return (
    <Section title={w.hardware}>
      <dl className="pairs">
        {pairs.map(([k, v]) => [<dt key={k}>{k}</dt>, <dd key={`${k}=`}>{v}</dd>])}
      </dl>
    </Section>
  );
}

function Networks({ nics, known }: { nics?: Schemas['NIC'][]; known: boolean }) {
  const w = useMessages(words);
  if (!known || !nics?.length)
    return (
      <Section title={w.networks}>
        <Text size="sm" className="dim">{known ? w.noNetworks : <Fact tone="idle" mark="unknown">–</Fact>}</Text>
      </Section>
    );
  return (
    <Table
      title={w.networks}
      label={w.networks}
      rows={nics.map((n, i) => ({ ...n, i }))}
      by={(n) => String(n.i)}
      columns={[
        { title: w.network, cell: (n) => n.network },
        { title: w.mac, cell: (n) => <code>{n.mac || '–'}</code> },
        { title: w.forwards, cell: (n) => (n.forwards ?? []).map((p) => `${p.hostPort ?? '?'} → ${p.guestPort}`).join(', ') || '–' },
      ]}
    />
  );
}

function Disks({ disks }: { disks: Schemas['Disk'][] }) {
  const w = useMessages(words);
  const f = useFormat();
  return (
    <Table
      title={w.disks}
      label={w.disks}
      rows={disks}
      by={(d) => d.name}
      columns={[
        { title: w.disk, cell: (d) => <b>{d.name}</b> },
        { title: w.size, n: true, cell: (d) => f.bytes(d.size) },
        { title: w.format, cell: (d) => d.format || '–' },
        { title: w.role, cell: (d) => <span style={{ whiteSpace: 'nowrap' }}>{d.role || w.ofGuest}</span> },
        { title: w.path, cell: (d) => <span className="dim" style={{ whiteSpace: 'nowrap' }}>{d.path}</span> },
      ]}
    />
  );
}
