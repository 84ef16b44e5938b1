// Sites and vaults: a map of where recovery points go, with how well they get there, and a table of each.
import { Button, Group, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { lazy, Suspense, useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { Link } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Empty } from '../../ui/empty';
import { Deed } from '../../ui/may';
import { Loaded, Page, Section } from '../../ui/page';
import { fieldError } from '../../ui/problem';
import { Table } from '../../ui/table';
import { sites as words } from './messages';
import { Vaults } from './vaults';

const Map = lazy(() => import('./map'));

export default function Sites() {
  const w = useMessages(words);
  const list = useGet('/v1/sites');
  const overview = useGet('/v1/overview');
  const [adding, add] = useState(false);
  const [removing, remove] = useState<string>();
  const removal = useAct('delete', '/v1/sites/{name}', { onDone: () => remove(undefined) });
  const button = (
    <Deed verb="configure" onClick={() => add(true)}>
      {w.add}
    </Deed>
  );
  return (
    <Page title={w.title} actions={button}>
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Empty title={w.emptyTitle} cmd="understudy site add east --provider qemu --set dir=/srv/east">
              {w.emptyText}
            </Empty>
          ) : (
            <>
              <Section title={w.map}>
                <Loaded from={overview}>
                  {(o) =>
                    o.links.length === 0 ? (
                      <Text className="dim">{w.noLinks}</Text>
                    ) : (
                      <Suspense>
                        <Map links={o.links} />
                      </Suspense>
                    )
                  }
                </Loaded>
              </Section>
              <Table
                title={w.sites}
                label={w.sites}
                rows={data}
                by={(s) => s.name}
                columns={[
                  { title: w.site, cell: (s) => <Link to={`/sites/${s.name}`}>{s.name}</Link> },
                  { title: w.provider, cell: (s) => s.provider },
                  { title: w.settings, cell: (s) => <Settings config={s.config} /> },
                  {
                    n: true,
                    cell: (s) => (
                      <Deed verb="configure" on={{ sites: [s.name] }} size="xs" variant="default" onClick={() => remove(s.name)}>
                        {w.remove}
                      </Deed>
                    ),
                  },
                ]}
              />
            </>
          )
        }
      </Loaded>
      <Vaults />
      {adding && <AddSite onClose={() => add(false)} />}
      <Confirm opened={!!removing} onClose={() => remove(undefined)} title={`${w.remove}: ${removing}`} action={w.remove} danger typed={removing} busy={removal.isPending} problem={removal.error} cmd={`understudy site remove ${removing}`} onConfirm={() => removing && removal.mutate({ path: { name: removing } })}>
        <Text size="sm">{w.removeText}</Text>
      </Confirm>
    </Page>
  );
}

export function Settings({ config }: { config?: Schemas['Site']['config'] }) {
  return (
    <Stack gap={2}>
      {Object.entries(config ?? {}).map(([k, v]) => (
        <Text size="sm" key={k} style={{ overflowWrap: 'anywhere' }}>
          <span className="dim">{k}</span> {v}
        </Text>
      ))}
    </Stack>
  );
}

const providers = ['qemu', 'image', 'azure'];

function AddSite({ onClose }: { onClose: () => void }) {
  const w = useMessages(words);
  const [name, setName] = useState('');
  const [provider, setProvider] = useState('qemu');
  const [text, setText] = useState('');
  const add = useAct('post', '/v1/sites', { onDone: onClose });
  const pairs = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => [line.split('=', 1)[0] ?? '', line.slice(line.indexOf('=') + 1)] as const);
  const cmd = `understudy site add ${quote(name || 'NAME')} --provider ${provider}${pairs.map(([k, v]) => ` --set ${quote(`${k}=${v}`)}`).join('')}`;
  return (
    <Confirm opened onClose={onClose} title={w.add} action={w.add} busy={add.isPending} problem={add.error} cmd={cmd} onConfirm={() => add.mutate({ body: { name, provider, config: Object.fromEntries(pairs) } })}>
      <TextInput label={w.name} description={w.nameText} value={name} onChange={(e) => setName(e.currentTarget.value)} required error={fieldError(add.error, 'name')} spellCheck={false} />
      <Group gap="xs" role="group" aria-label={w.provider}>
        {providers.map((p) => (
          <Button key={p} size="xs" variant={p === provider ? 'filled' : 'default'} aria-pressed={p === provider} onClick={() => setProvider(p)}>
            {p}
          </Button>
        ))}
      </Group>
      <Textarea label={w.settings} description={w.settingsText} value={text} onChange={(e) => setText(e.currentTarget.value)} autosize minRows={3} maxRows={10} spellCheck={false} placeholder={provider === 'azure' ? 'subscription=...\nresource-group=shop-east\nlocation=francecentral' : 'dir=/srv/east'} />
    </Confirm>
  );
}
