import { Group, Stack, Text } from '@mantine/core';
import type { Schemas } from '../../api/client';
import { useGet } from '../../api/query';
import { useMay } from '../../api/session';
import { hasPage, links } from '../../app/links';
import { Link } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Fact, type Tone } from '../../ui/badge';
import { useFormat } from '../../ui/format';
import { Loaded, Scroll, Section } from '../../ui/page';
import { Time } from '../../ui/time';
import { group as words } from './messages';

type Protection = Schemas['Group'];

export function Machines({ g }: { g: Protection }) {
  const w = useMessages(words);
  const f = useFormat();
  // A right to a group is none to its site.
  const may = useMay();
  const seen = useGet('/v1/sites/{name}/machines', { path: { name: g.site } }, { enabled: may('read', { sites: [g.site] }) });
  return (
    <Section title={w.machines} flush>
      <Scroll label={w.machines}>
        <table className="table">
          <thead>
            <tr>
              <th>{w.machine}</th>
              <th>{w.power}</th>
              <th className="n">{w.order}</th>
              <th>{w.probe}</th>
              <th>{w.disk}</th>
            </tr>
          </thead>
          <tbody>
            {g.machines.map((m) => {
              const is = seen.data?.find((x) => x.name === m.name);
              const p = m.probe;
              return (
                <tr key={m.name}>
                  <td>
                    <Text size="sm" fw={600}>
                      <Link to={links.machine(g.site, m.name)}>{m.name}</Link>
                    </Text>
                    {is && (
                      <Text size="xs" className="dim">
                        {[is.cpus && `${is.cpus} CPU`, is.memoryMiB && f.bytes(is.memoryMiB * 2 ** 20)].filter(Boolean).join(', ')}
                      </Text>
                    )}
                  </td>
                  <td>{is ? is.power || '–' : seen.data && <span className="dim">{w.unknownMachine}</span>}</td>
                  <td className="n">{m.order ?? 0}</td>
                  <td>{p?.kind ? [p.kind, p.port, p.path, p.text].filter(Boolean).join(' ') : <span className="dim">{w.noProbe}</span>}</td>
                  <td>
                    {is?.disks.map((d) => (
                      <div key={d.name} style={{ whiteSpace: 'nowrap' }}>
                        {d.name} <span className="dim">{[f.bytes(d.size), d.format].filter(Boolean).join(', ')}</span>
                      </div>
                    ))}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
    </Section>
  );
}

export function Settings({ g, s }: { g: Protection; s: Schemas['Status'] }) {
  const w = useMessages(words);
  const policies = useGet('/v1/policies');
  const policy = policies.data?.find((p) => p.name === (g.policy || 'default'));
  const to = (href: string | undefined, text: string) => (href ? <Link to={href}>{text}</Link> : text);
  const vault = links.vault(g.vault);
  return (
    <Section title={w.settings}>
      <dl className="pairs">
        <dt>{w.state}</dt>
        <dd>{s.state}</dd>
        <dt>{w.site}</dt>
        <dd>{to(links.site(g.site), g.site)}</dd>
        <dt>{w.target}</dt>
        <dd>{to(links.site(s.target), s.target)}</dd>
        <dt>{w.vault}</dt>
        <dd>{to(vault, g.vault)}</dd>
        <dt>{w.policy}</dt>
        <dd>{to(links.policies(), g.policy || 'default')}</dd>
        {policy && (
          <>
            <dt>{w.rpo}</dt>
            <dd>{policy.rpo}</dd>
            <dt>{w.keep}</dt>
            <dd>{policy.keep}</dd>
            {policy.appEvery && (
              <>
                <dt>{w.appEvery}</dt>
                <dd>{policy.appEvery}</dd>
              </>
            )}
          </>
        )}
      </dl>
    </Section>
  );
}

const extensionTone: Record<string, Tone> = { healthy: 'good', ok: 'good', failed: 'bad', unhealthy: 'bad', stale: 'warn', missing: 'warn' };

/** The extensions of a group's machines, or of one. */
export function Extensions({ name, machine }: { name: string; machine?: string }) {
  const w = useMessages(words);
  const group = useGet('/v1/groups/{name}/extensions', { path: { name } });
  const asked = { ...group, data: group.data?.filter((i) => !machine || i.machine === machine) };
  return (
    <Section title={w.extensions}>
      <Loaded from={asked}>
        {(list) =>
          list.every((i) => i.extensions.length === 0) ? (
            <Text size="sm" className="dim">
              {w.noExtensions}
            </Text>
          ) : (
            <Stack gap="sm">
              {list.map((i) => (
                <div key={i.machine}>
                  {!machine && (
                    <Text size="sm" fw={600}>
                      {i.machine}
                    </Text>
                  )}
                  {i.extensions.map((e) => (
                    <Group key={e.name} justify="space-between" gap="xs" py={3} wrap="nowrap">
                      <Text size="sm" className="grow">
                        {e.name} <span className="dim">{e.version}</span>
                        {e.message && (
                          <Text span size="xs" className="dim" display="block">
                            {e.message}
                          </Text>
                        )}
                        {e.heartbeat && (
                          <Text span size="xs" className="dim" display="block">
                            {w.heartbeat} <Time at={e.heartbeat} ago />
                          </Text>
                        )}
                      </Text>
                      <Fact tone={extensionTone[e.status ?? ''] ?? 'idle'}>{e.status || '–'}</Fact>
                    </Group>
                  ))}
                </div>
              ))}
            </Stack>
          )
        }
      </Loaded>
    </Section>
  );
}

export function Events({ name }: { name: string }) {
  const w = useMessages(words);
  const asked = useGet('/v1/events', { query: { group: name, limit: 12 } });
  const all = `/activity?group=${encodeURIComponent(name)}`;
  return (
    <Section title={w.events} aside={hasPage(all) && <Link to={all} fz="sm">{w.allEvents}</Link>}>
      <Loaded from={asked}>
        {(list) =>
          list.length === 0 ? (
            <Text size="sm" className="dim">
              {w.noEvents}
            </Text>
          ) : (
            <Stack gap={6}>
              {list.map((e) => (
                <Group key={e.sequence} gap="sm" wrap="nowrap" align="baseline">
                  <Text size="sm" className="dim" style={{ flex: 'none', minWidth: 92 }}>
                    <Time at={e.time} ago />
                  </Text>
                  <Text size="sm" className="grow" style={{ overflowWrap: 'anywhere' }}>
                    {e.message}
                  </Text>
                </Group>
              ))}
            </Stack>
          )
        }
      </Loaded>
    </Section>
  );
}
