// Users: what each may do, and one's own password.
import { PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { useMay, useSession } from '../../api/session';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Deed } from '../../ui/may';
import { Loaded } from '../../ui/page';
import { fieldError } from '../../ui/problem';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { type Grant, grantFlags, GrantList, Grants } from './grants';
import { settings as words } from './messages';

type User = Schemas['User'];

export function Users() {
  const w = useMessages(words);
  const may = useMay();
  const session = useSession();
  const [changing, change] = useState(false);
  return (
    <Stack>
      {session.data?.method === 'password' && (
        <div>
          <Deed verb="self" variant="default" onClick={() => change(true)}>
            {w.changeOwn}
          </Deed>
        </div>
      )}
      {may('manage-access') ? <Everyone /> : <Text className="dim">{w.noRight}</Text>}
      {changing && session.data && <OwnPassword user={session.data.user} onClose={() => change(false)} />}
    </Stack>
  );
}

function Everyone() {
  const w = useMessages(words);
  const list = useGet('/v1/users');
  const [editing, edit] = useState<User | 'new'>();
  const [removing, remove] = useState<string>();
  const removal = useAct('delete', '/v1/users/{name}', { onDone: () => remove(undefined) });
  return (
    <>
      <Loaded from={list}>
        {(data) => (
          <Table
            title={w.people}
            aside={
              <Deed verb="manage-access" size="xs" onClick={() => edit('new')}>
                {w.addUser}
              </Deed>
            }
            label={w.people}
            rows={data}
            by={(u) => u.name}
            columns={[
              { title: w.name, cell: (u) => <>{u.name}{!u.hasPassword && <Text size="xs" className="dim">{w.noPassword}</Text>}</> },
              { title: w.grants, cell: (u) => <GrantList grants={u.grants} /> },
              { title: w.lastLogin, cell: (u) => <Time at={u.lastLogin} ago /> },
              { title: w.created, cell: (u) => <Time at={u.created} short /> },
              {
                n: true,
                cell: (u) => (
                  <>
                    <Deed verb="manage-access" size="xs" variant="default" onClick={() => edit(u)}>
                      {w.grants}
                    </Deed>{' '}
                    <Deed verb="manage-access" size="xs" variant="default" onClick={() => remove(u.name)}>
                      {w.remove}
                    </Deed>
                  </>
                ),
              },
            ]}
          />
        )}
      </Loaded>
      {editing && <EditUser user={editing === 'new' ? undefined : editing} onClose={() => edit(undefined)} />}
      <Confirm opened={!!removing} onClose={() => remove(undefined)} title={`${w.remove}: ${removing}`} action={w.remove} danger typed={removing} busy={removal.isPending} problem={removal.error} cmd={`understudy user remove ${removing}`} onConfirm={() => removing && removal.mutate({ path: { name: removing } })}>
        <Text size="sm">{w.removeUser}</Text>
      </Confirm>
    </>
  );
}

function EditUser({ user, onClose }: { user?: User; onClose: () => void }) {
  const w = useMessages(words);
  const [name, setName] = useState(user?.name ?? '');
  const [password, setPassword] = useState('');
  const [grants, setGrants] = useState<Grant[]>(user?.grants ?? [{ role: 'viewer', scope: '*' }]);
  const put = useAct('put', '/v1/users/{name}', { onDone: onClose });
  return (
    <Confirm opened onClose={onClose} title={user ? `${w.grants}: ${user.name}` : w.addUser} action={w.save} busy={put.isPending} problem={put.error} cmd={command(name || 'NAME', grants, !user)} onConfirm={() => put.mutate({ path: { name }, body: { grants, password: password || undefined } })}>
      {!user && <TextInput label={w.name} required value={name} onChange={(e) => setName(e.currentTarget.value)} spellCheck={false} />}
      <PasswordInput label={w.password} description={w.twelve} required={!user} value={password} onChange={(e) => setPassword(e.currentTarget.value)} autoComplete="new-password" error={fieldError(put.error, 'password')} />
      <Grants value={grants} onChange={setGrants} />
    </Confirm>
  );
}

/** Adding takes one right; every other is given by a command of its own. */
function command(name: string, grants: Grant[], added: boolean): string {
  const grant = (g: Grant) => `understudy user grant ${quote(name)} ${g.role}${g.scope === '*' ? '' : ` --scope ${quote(g.scope)}`}`;
  return [...(added ? [`understudy user add ${quote(name)}${grantFlags(grants)} --password-file -`] : []), ...grants.slice(added ? 1 : 0).map(grant)].join(' && ');
}

function OwnPassword({ user, onClose }: { user: string; onClose: () => void }) {
  const w = useMessages(words);
  const [current, setCurrent] = useState('');
  const [password, setPassword] = useState('');
  const put = useAct('put', '/v1/users/{name}/password', { onDone: onClose });
  return (
    <Confirm opened onClose={onClose} title={w.changeOwn} action={w.save} busy={put.isPending} problem={put.error} cmd={`understudy user password ${quote(user)}`} onConfirm={() => put.mutate({ path: { name: user }, body: { current, password } })}>
      <PasswordInput label={w.current} required value={current} onChange={(e) => setCurrent(e.currentTarget.value)} autoComplete="current-password" />
      <PasswordInput label={w.password} description={w.twelve} required value={password} onChange={(e) => setPassword(e.currentTarget.value)} autoComplete="new-password" error={fieldError(put.error, 'password')} />
    </Confirm>
  );
}
