// One site: its machines, and whether all that it needs is there.
import { Text } from '@mantine/core';
import { useState } from 'react';
import { useGet } from '../../api/query';
import { links } from '../../app/links';
import { Link } from '../../app/router';
import type { PageProps } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import { Fact, type Tone } from '../../ui/badge';
import { Cli } from '../../ui/cli';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { Loaded, Page, Section } from '../../ui/page';
import { Table } from '../../ui/table';
import { Settings } from '../sites';
import { sites as words } from '../sites/messages';

const tones: Record<string, Tone> = { ok: 'good', warn: 'warn', fail: 'bad' };

export default function SitePage({ params }: PageProps) {
  const name = params.site ?? '';
  const w = useMessages(words);
  const f = useFormat();
  const site = useGet('/v1/sites/{name}', { path: { name } });
  const machines = useGet('/v1/machines', { query: { site: name, limit: 1000 } });
  const [examining, examine] = useState(false);
  const found = useGet('/v1/sites/{name}/examination', { path: { name } }, { enabled: examining });
  const powers: Record<string, string> = { on: w.on, off: w.off, paused: w.paused, unknown: w.unknown };
  return (
    <Page
      title={name}
      sites={[name]}
      way={[{ to: '/sites', label: w.title }]}
      actions={
        <Deed verb="read" loading={examining && found.isFetching} onClick={() => (examining ? void found.refetch() : examine(true))}>
          {w.examine}
        </Deed>
      }
    >
      <Loaded from={site}>
        {(s) => (
          <Section title={s.provider}>
            <Settings config={s.config} />
          </Section>
        )}
      </Loaded>
      {examining && (
        <Loaded from={found}>
          {(e) => (
            <Table
              title={w.examination}
              label={w.examination}
              rows={e.findings}
              by={(one) => one.check}
              columns={[
                { title: w.check, cell: (one) => one.check },
                { title: w.state, cell: (one) => <Fact tone={tones[one.status] ?? 'idle'}>{one.status === 'ok' ? w.fine : one.status === 'warn' ? w.warn : w.fail}</Fact> },
                { title: w.message, cell: (one) => one.message },
                { title: w.remedy, cell: (one) => one.remedy },
              ]}
            />
          )}
        </Loaded>
      )}
      <Loaded from={machines}>
        {(list) =>
          list.length === 0 ? (
            <Text className="dim">{w.noMachines}</Text>
          ) : (
            <Table
              title={w.machines}
              label={w.machines}
              rows={list}
              by={(m) => m.name}
              columns={[
                { title: w.machine, cell: (m) => <Link to={links.machine(name, m.name)}>{m.name}</Link> },
                { title: w.power, cell: (m) => powers[m.power] ?? m.power },
                { title: w.size, cell: (m) => (m.cpus ? `${w.cpus(m.cpus, f.bytes((m.memoryMiB ?? 0) * 1048576))} · ${f.bytes(m.diskBytes)}` : f.bytes(m.diskBytes)) },
                { title: w.group, cell: (m) => (m.group ? <Link to={`/groups/${m.group}`}>{m.group}</Link> : <span className="dim">{w.unprotected}</span>) },
              ]}
            />
          )
        }
      </Loaded>
      <Cli cmd={`understudy site doctor ${name}`} />
    </Page>
  );
}
