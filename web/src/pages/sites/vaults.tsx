// Vaults, what they hold and what is free.
import { Group, Progress, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Empty } from '../../ui/empty';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { Loaded } from '../../ui/page';
import { fieldError } from '../../ui/problem';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { sites as words } from './messages';

export function Vaults() {
  const w = useMessages(words);
  const list = useGet('/v1/vaults');
  const [adding, add] = useState(false);
  const [removing, remove] = useState<string>();
  const removal = useAct('delete', '/v1/vaults/{name}', { onDone: () => remove(undefined) });
  const button = (
    <Deed verb="configure" size="xs" variant="default" onClick={() => add(true)}>
      {w.addVault}
    </Deed>
  );
  return (
    <>
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Empty title={w.noVaults} cmd="understudy vault add main file:///srv/vault" action={button}>
              {w.noVaultsText}
            </Empty>
          ) : (
            <Table
              title={w.vaults}
              aside={button}
              label={w.vaults}
              rows={data}
              by={(v) => v.name}
              columns={[
                { title: w.vault, cell: (v) => v.name },
                { title: w.url, cell: (v) => <Text size="sm" style={{ overflowWrap: 'anywhere' }}>{v.url}</Text> },
                { title: w.used, cell: (v) => <Usage vault={v.name} /> },
                { title: w.key, cell: (v) => <Text size="sm" className="dim" style={{ overflowWrap: 'anywhere' }}>{v.keyFile}</Text> },
                {
                  n: true,
                  cell: (v) => (
                    <Deed verb="configure" size="xs" variant="default" onClick={() => remove(v.name)}>
                      {w.remove}
                    </Deed>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
      {adding && <AddVault onClose={() => add(false)} />}
      <Confirm opened={!!removing} onClose={() => remove(undefined)} title={`${w.remove}: ${removing}`} action={w.remove} danger typed={removing} busy={removal.isPending} problem={removal.error} cmd={`understudy vault remove ${removing}`} onConfirm={() => removing && removal.mutate({ path: { name: removing } })}>
        <Text size="sm">{w.removeVaultText}</Text>
      </Confirm>
    </>
  );
}

function Usage({ vault }: { vault: string }) {
  const w = useMessages(words);
  const f = useFormat();
  const usage = useGet('/v1/vaults/{name}/usage', { path: { name: vault } }, { every: 60_000 });
  const u = usage.data;
  if (!u) return <span className="dim">{usage.error?.message ?? '…'}</span>;
  if (!u.at) return <span className="dim">{u.problem ?? w.never}</span>;
  return (
    <div style={{ minWidth: 180 }}>
      <Group justify="space-between" gap="xs">
        <Text size="sm">{f.bytes(u.bytes)}</Text>
        {u.freeBytes !== undefined && (
          <Text size="sm" className="dim">
            {w.free} {f.bytes(u.freeBytes)}
          </Text>
        )}
      </Group>
      {u.freeBytes !== undefined && <Progress value={(100 * u.bytes) / Math.max(1, u.bytes + u.freeBytes)} size="sm" aria-label={w.used} />}
      <Text size="xs" className={u.problem ? 'bad' : 'dim'}>
        {u.problem ?? w.counted} <Time at={u.at} ago />
      </Text>
    </div>
  );
}

function AddVault({ onClose }: { onClose: () => void }) {
  const w = useMessages(words);
  const [name, setName] = useState('');
  const [url, setURL] = useState('');
  const add = useAct('post', '/v1/vaults', { onDone: onClose });
  return (
    <Confirm opened onClose={onClose} title={w.addVault} action={w.addVault} busy={add.isPending} problem={add.error} cmd={`understudy vault add ${quote(name || 'NAME')} ${quote(url || 'URL')}`} onConfirm={() => add.mutate({ body: { name, url } })}>
      <Text size="sm">{w.noVaultsText}</Text>
      <TextInput label={w.name} description={w.nameText} value={name} onChange={(e) => setName(e.currentTarget.value)} required error={fieldError(add.error, 'name')} spellCheck={false} />
      <TextInput label={w.url} description={w.urlText} value={url} onChange={(e) => setURL(e.currentTarget.value)} required error={fieldError(add.error, 'url')} spellCheck={false} />
    </Confirm>
  );
}
