// What a failover would do now: from where to where, what is lost, what is checked, and every step.
import { List, SimpleGrid, Stack, Text } from '@mantine/core';
import type { Schemas } from '../../api/client';
import { useMessages } from '../../i18n/i18n';
import { Fact, type Tone } from '../../ui/badge';
import { useFormat } from '../../ui/format';
import { Scroll, Section } from '../../ui/page';
import { Time } from '../../ui/time';
import type { Kind } from '.';
import { failover as words } from './messages';

const tones: Record<Schemas['Check']['state'], Tone> = { ok: 'good', warning: 'warn', failure: 'bad', unknown: 'idle' };

export function Review({ preview: p, kind }: { preview: Schemas['Preview']; kind: Kind }) {
  const w = useMessages(words);
  const f = useFormat();
  const checks = (p.checks ?? []).filter((c) => c.state !== 'ok');
  return (
    <Stack>
      {p.refused && (
        <div className="note bad" role="alert">
          <Text fw={600} className="bad">
            {w.refused}: {p.refused}
          </Text>
          {p.hint && <Text size="sm">{p.hint}</Text>}
        </div>
      )}
      {p.warnings.length > 0 && (
        <div className="note warn">
          <Text fw={600}>{w.warnings}</Text>
          {p.warnings.map((one) => (
            <Text size="sm" key={one}>
              {one}
            </Text>
          ))}
        </div>
      )}
      <SimpleGrid cols={{ base: 1, sm: 3 }}>
        <Section title={w.loses}>
          <div className={p.loseSeconds > 0 && kind === 'unplanned' ? 'big warn' : 'big'}>{kind === 'unplanned' ? f.duration(p.loseSeconds) : f.duration(0)}</div>
          <Text size="sm" className="dim">
            {p.point.id} · <Time at={p.point.time} short /> · {p.point.kind}
          </Text>
        </Section>
        <Section title={w.estimate}>
          <div className="big">{p.rtoSeconds === undefined ? '–' : f.duration(p.rtoSeconds)}</div>
          <Text size="sm" className="dim">
            {p.rtoFrom ? w.measured(p.rtoFrom) : w.never}
          </Text>
        </Section>
        <Section title={`${w.from} → ${w.to}`}>
          <Text fw={600} size="lg">
            {p.source} → {p.target}
          </Text>
          <Fact tone={checks.some((c) => c.state === 'failure') || p.refused ? 'bad' : checks.length + p.warnings.length > 0 ? 'warn' : 'good'}>
            {checks.length > 0 ? w.found(checks.length) : p.refused ? w.refused : p.warnings.length > 0 ? w.aware : w.ready}
          </Fact>
        </Section>
      </SimpleGrid>
      <Section flush title={w.machines}>
        <Scroll label={w.machines}>
          <table className="table">
            <thead>
              <tr>
                <th>{w.machine}</th>
                <th className="n">{w.loses}</th>
                <th>{w.to}</th>
                <th className="n">{w.estimate}</th>
              </tr>
            </thead>
            <tbody>
              {p.machines.map((m) => (
                <tr key={m.name}>
                  <td>{m.name}</td>
                  <td className="n">{kind === 'unplanned' ? f.duration(m.loseSeconds) : f.duration(0)}</td>
                  <td>
                    {m.as} <span className="dim">· {m.original ? w.reuse : w.created}</span>
                  </td>
                  <td className="n">{m.rtoSeconds === undefined ? '–' : f.duration(m.rtoSeconds)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      </Section>
      {checks.length > 0 && (
        <Section title={w.checks}>
          <Stack gap="sm">
            {checks.map((c) => (
              <div key={c.machine + c.name}>
                <Fact tone={tones[c.state]} mark={c.state === 'unknown' ? 'unknown' : undefined}>
                  {c.machine} · {c.name}
                </Fact>
                <Text size="sm">{c.message}</Text>
                {c.remedy && (
                  <Text size="sm" className="dim">
                    {w.remedy}: {c.remedy}
                  </Text>
                )}
              </div>
            ))}
          </Stack>
        </Section>
      )}
      <Section title={w.steps}>
        <List type="ordered" size="sm" spacing={4}>
          {p.steps.map((s, i) => (
            <List.Item key={i}>{s}</List.Item>
          ))}
        </List>
      </Section>
    </Stack>
  );
}
