// Replication policies: what each does in sentences, which groups it is in force for, and how to change it.
import { Group, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { Link } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Empty } from '../../ui/empty';
import { Deed } from '../../ui/may';
import { Loaded, Page } from '../../ui/page';
import { fieldError } from '../../ui/problem';
import { Table } from '../../ui/table';
import { policies as words } from './messages';

type Policy = Schemas['Policy'];

export default function Policies() {
  const w = useMessages(words);
  const list = useGet('/v1/policies');
  const [editing, edit] = useState<Policy | 'new'>();
  const [removing, remove] = useState<string>();
  const removal = useAct('delete', '/v1/policies/{name}', { onDone: () => remove(undefined) });
  const button = (
    <Deed verb="configure" onClick={() => edit('new')}>
      {w.add}
    </Deed>
  );
  return (
    <Page title={w.title} actions={button}>
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Empty title={w.emptyTitle} cmd="understudy policy set gold --rpo 5s">
              {w.emptyText}
            </Empty>
          ) : (
            <Table
              label={w.title}
              rows={data}
              by={(p) => p.name}
              columns={[
                { title: w.policy, cell: (p) => p.name },
                { title: w.rpo, cell: (p) => p.rpo },
                { title: w.does, cell: (p) => <Effect policy={p.name} /> },
                {
                  n: true,
                  cell: (p) => (
                    <Group gap="xs" wrap="nowrap" justify="end">
                      <Deed verb="configure" size="xs" variant="default" onClick={() => edit(p)}>
                        {w.edit}
                      </Deed>
                      <Deed verb="configure" size="xs" variant="default" onClick={() => remove(p.name)}>
                        {w.remove}
                      </Deed>
                    </Group>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
      {editing && <EditPolicy policy={editing === 'new' ? undefined : editing} onClose={() => edit(undefined)} />}
      <Confirm opened={!!removing} onClose={() => remove(undefined)} title={`${w.remove}: ${removing}`} action={w.remove} danger busy={removal.isPending} problem={removal.error} cmd={`understudy policy remove ${removing}`} onConfirm={() => removing && removal.mutate({ path: { name: removing } })}>
        <Text size="sm">{w.removeText}</Text>
      </Confirm>
    </Page>
  );
}

function Effect({ policy }: { policy: string }) {
  const w = useMessages(words);
  const effective = useGet('/v1/policies/{name}/effective', { path: { name: policy } });
  const e = effective.data;
  if (!e) return <span className="dim">{effective.error?.message ?? '…'}</span>;
  return (
    <Stack gap={4}>
      {e.sentences.map((s) => (
        <Text size="sm" key={s}>
          {s}
        </Text>
      ))}
      <Text size="sm" className="dim">
        {w.points(e.points)} · {w.groups}:{' '}
        {e.groups.length === 0
          ? w.nobody
          : e.groups.slice(0, 8).map((g) => (
              <span key={g}>
                <Link to={`/groups/${g}`} underline="always" fz="sm">
                  {g}
                </Link>{' '}
              </span>
            ))}
        {e.groups.length > 8 && '…'}
      </Text>
    </Stack>
  );
}

function EditPolicy({ policy, onClose }: { policy?: Policy; onClose: () => void }) {
  const w = useMessages(words);
  const [p, set] = useState<Policy>(policy ?? { name: '', rpo: '5s', keep: 'all for 1h, 5m for 1d, 1h for 7d' });
  const effective = useGet('/v1/policies/{name}/effective', { path: { name: policy?.name ?? '' } }, { enabled: !!policy });
  const put = useAct('put', '/v1/policies', { onDone: onClose });
  const text = (key: 'name' | 'rpo' | 'keep' | 'appEvery' | 'freezeTimeout') => ({
    value: p[key] ?? '',
    onChange: (e: { currentTarget: { value: string } }) => set({ ...p, [key]: e.currentTarget.value || (key === 'appEvery' || key === 'freezeTimeout' ? undefined : '') }),
    error: fieldError(put.error, key),
    spellCheck: false,
  });
  const cmd = `understudy policy set ${quote(p.name || 'NAME')} --rpo ${quote(p.rpo)} --keep ${quote(p.keep)}${p.appEvery ? ` --app-every ${quote(p.appEvery)}` : ''}${p.freezeTimeout ? ` --freeze-timeout ${quote(p.freezeTimeout)}` : ''}`;
  return (
    <Confirm opened onClose={onClose} title={policy ? `${w.edit}: ${policy.name}` : w.add} action={w.save} busy={put.isPending} problem={put.error} cmd={cmd} onConfirm={() => put.mutate({ body: p })}>
      {policy && <Text size="sm">{w.changeText(effective.data?.groups.length ?? 0)}</Text>}
      {!policy && <TextInput label={w.name} required {...text('name')} />}
      <TextInput label={w.rpo} description={w.rpoText} required {...text('rpo')} />
      <TextInput label={w.keep} description={w.keepText} required {...text('keep')} />
      <TextInput label={w.app} description={w.appText} {...text('appEvery')} />
      <TextInput label={w.freeze} description={w.freezeText} {...text('freezeTimeout')} />
    </Confirm>
  );
}
