// Begins to protect a machine, as a group of its own.
import { NativeSelect, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import { links } from '../../app/links';
import { navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Cli, quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { fieldError } from '../../ui/problem';
import { machines as words } from './messages';

export function Protect({ site, machine, onClose }: { site: string; machine: string; onClose: () => void }) {
  const w = useMessages(words);
  const sites = useGet('/v1/sites');
  const vaults = useGet('/v1/vaults');
  const policies = useGet('/v1/policies');
  const [group, setGroup] = useState(machine.toLowerCase().replace(/[^a-z0-9._-]/g, '-'));
  const [chosen, choose] = useState<{ vault?: string; policy?: string; target?: string }>({});
  const like = useGet('/v1/groups', { query: { q: group } }, { enabled: group !== '' });
  // The same request changes a group that there is: its machines would be replaced by this one.
  const taken = !!like.data?.some((g) => g.name === group);
  const protect = useAct('post', '/v1/groups', { onDone: (g) => navigate(links.group(g.name)) });
  const vault = chosen.vault ?? vaults.data?.[0]?.name ?? '';
  const policy = chosen.policy ?? policies.data?.[0]?.name ?? '';
  const elsewhere = (sites.data ?? []).filter((s) => s.name !== site && s.provider !== 'image');
  const target = chosen.target ?? elsewhere[0]?.name ?? site;
  const cmd = `understudy protect --group ${quote(group || 'GROUP')} --site ${quote(site)} --target ${quote(target)} --vault ${quote(vault || 'VAULT')}${policy ? ` --policy ${quote(policy)}` : ''} --machine ${quote(machine)}`;
  return (
    <Confirm
      opened
      onClose={onClose}
      title={w.protectTitle(machine)}
      action={w.protect}
      busy={protect.isPending}
      problem={protect.error}
      cmd={cmd}
      onConfirm={() => {
        if (!taken && vault && like.isSuccess && !like.isPlaceholderData) protect.mutate({ body: { name: group, site, target, vault, policy: policy || undefined, machines: [{ name: machine }] } });
      }}
    >
      <Text size="sm">{w.protectText}</Text>
      <TextInput label={w.groupName} value={group} onChange={(e) => setGroup(e.currentTarget.value)} error={taken ? w.taken : fieldError(protect.error, 'name')} required data-autofocus autoComplete="off" spellCheck={false} />
      {vaults.data?.length === 0 ? (
        <div>
          <Text size="sm">{w.noVault}</Text>
          <Cli cmd="understudy vault add main /srv/vault" label={false} />
        </div>
      ) : (
        <NativeSelect label={w.vault} value={vault} onChange={(e) => choose({ ...chosen, vault: e.currentTarget.value })} data={(vaults.data ?? []).map((v) => v.name)} />
      )}
      {!!policies.data?.length && <NativeSelect label={w.policy} value={policy} onChange={(e) => choose({ ...chosen, policy: e.currentTarget.value })} data={policies.data.map((p) => p.name)} />}
      <NativeSelect label={w.target} value={target} onChange={(e) => choose({ ...chosen, target: e.currentTarget.value })} data={[...elsewhere.map((s) => s.name), site]} />
    </Confirm>
  );
}
