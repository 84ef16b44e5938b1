// Tokens of the API, for programs. A secret is shown once.
import { Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import { useMay } from '../../api/session';
import { useMessages } from '../../i18n/i18n';
import { Cli, quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Deed } from '../../ui/may';
import { Loaded } from '../../ui/page';
import { fieldError } from '../../ui/problem';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { type Grant, grantFlags, GrantList, Grants } from './grants';
import { settings as words } from './messages';

export function Tokens() {
  const w = useMessages(words);
  const may = useMay();
  if (!may('manage-access')) return <Text className="dim">{w.noRight}</Text>;
  return <All />;
}

function All() {
  const w = useMessages(words);
  const list = useGet('/v1/tokens');
  const [adding, add] = useState(false);
  const [removing, remove] = useState<string>();
  const [secret, show] = useState<string>();
  const removal = useAct('delete', '/v1/tokens/{name}', { onDone: () => remove(undefined) });
  return (
    <Stack>
      {secret && (
        <div className="note warn" role="status">
          <Text size="sm" mb="xs">
            {w.once}
          </Text>
          <Cli cmd={secret} label={false} />
        </div>
      )}
      <Loaded from={list}>
        {(data) => (
          <Table
            title={w.tokens}
            aside={
              <Deed verb="manage-access" size="xs" onClick={() => add(true)}>
                {w.addToken}
              </Deed>
            }
            label={w.tokens}
            rows={data}
            by={(t) => t.name}
            columns={[
              { title: w.name, cell: (t) => t.name },
              { title: w.grants, cell: (t) => <GrantList grants={t.grants} /> },
              { title: w.owner, cell: (t) => t.owner },
              { title: w.created, cell: (t) => <Time at={t.created} short /> },
              { title: w.expires, cell: (t) => (t.expires ? <Time at={t.expires} short /> : w.never) },
              {
                n: true,
                cell: (t) => (
                  <Deed verb="manage-access" size="xs" variant="default" onClick={() => remove(t.name)}>
                    {w.remove}
                  </Deed>
                ),
              },
            ]}
          />
        )}
      </Loaded>
      {adding && (
        <AddToken
          onClose={() => add(false)}
          onMade={(s) => {
            show(s);
            add(false);
          }}
        />
      )}
      <Confirm opened={!!removing} onClose={() => remove(undefined)} title={`${w.remove}: ${removing}`} action={w.remove} danger busy={removal.isPending} problem={removal.error} cmd={`understudy token revoke ${removing}`} onConfirm={() => removing && removal.mutate({ path: { name: removing } })}>
        <Text size="sm">{w.removeToken}</Text>
      </Confirm>
    </Stack>
  );
}

function AddToken({ onClose, onMade }: { onClose: () => void; onMade: (secret: string) => void }) {
  const w = useMessages(words);
  const [name, setName] = useState('');
  const [ttl, setTTL] = useState('90d');
  const [grants, setGrants] = useState<Grant[]>([{ role: 'viewer', scope: '*' }]);
  const add = useAct('post', '/v1/tokens', { onDone: (t) => t.secret && onMade(t.secret) });
  return (
    <Confirm opened onClose={onClose} title={w.addToken} action={w.addToken} busy={add.isPending} problem={add.error} cmd={`understudy token create ${quote(name || 'NAME')}${grantFlags(grants)}${ttl ? ` --ttl ${quote(ttl)}` : ''}`} onConfirm={() => add.mutate({ body: { name, grants, ttl: ttl || undefined } })}>
      <TextInput label={w.name} required value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(add.error, 'name')} spellCheck={false} />
      <TextInput label={w.ttl} value={ttl} onChange={(e) => setTTL(e.currentTarget.value)} error={fieldError(add.error, 'ttl')} spellCheck={false} />
      <Grants value={grants} onChange={setGrants} />
    </Confirm>
  );
}
