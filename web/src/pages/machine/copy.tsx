// Clones a machine, as it is now or as a recovery point has it, or moves it; leads to the run.
import { Checkbox, NativeSelect, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { links } from '../../app/links';
import { navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { useFormat } from '../../ui/format';
import { fieldError } from '../../ui/problem';
import { machine as words } from './messages';

interface Props {
  kind: 'clone' | 'move';
  /** What can be copied: one machine, or those of a recovery point. */
  machines: Pick<Schemas['Machine'], 'name' | 'nics'>[];
  from: { site: string } | { group: string; point: string; time: string };
  /** Where to, unless another site is chosen. */
  to?: string;
  onClose: () => void;
}

export function Copy({ kind, machines, from, to, onClose }: Props) {
  const w = useMessages(words);
  const f = useFormat();
  const sites = useGet('/v1/sites');
  const here = 'site' in from ? from.site : undefined;
  // Image files are written by their owner: no machine can be made there.
  const places = (sites.data ?? []).filter((s) => s.provider !== 'image' && (kind === 'clone' || s.name !== here)).map((s) => s.name);
  const [asked, ask] = useState<{ machine?: string; to?: string; as?: string; networks: Record<string, string>; start: boolean }>({ networks: {}, start: false });
  const machine = machines.find((m) => m.name === asked.machine) ?? machines[0];
  const name = machine?.name ?? '';
  const site = asked.to ?? (to && places.includes(to) ? to : here && places.includes(here) ? here : places[0]) ?? '';
  const as = asked.as ?? (kind === 'clone' ? `${name}-copy` : name);
  const networks = Object.fromEntries(Object.entries(asked.networks).filter(([a, b]) => b && a !== b && machine?.nics?.some((n) => n.network === a)));
  const body: Schemas['Clone'] = {
    machine: name, ...('site' in from ? { site: from.site } : { group: from.group, point: from.point }), to: site, as, start: asked.start || undefined, networks: Object.keys(networks).length ? networks : undefined,
  };
  const act = useAct('post', kind === 'clone' ? '/v1/clones' : '/v1/moves', {
    onDone: (run) => {
      onClose();
      const there = links.run(run.id);
      if (there) navigate(there);
    },
  });
  const cmd = [
    `understudy ${kind} ${quote(name)}`,
    'site' in from ? `--site ${quote(from.site)}` : `--group ${quote(from.group)} --point ${quote(from.point)}`,
    `--to ${quote(site)} --as ${quote(as)}`,
    ...Object.entries(networks).map(([a, b]) => `--network ${quote(`${a}=${b}`)}`),
    ...(asked.start ? ['--start'] : []),
  ].join(' ');
  return (
    <Confirm
      opened
      onClose={onClose}
      title={kind === 'clone' ? w.cloneTitle(name) : w.moveTitle(name)}
      action={kind === 'clone' ? w.clone : w.move}
      busy={act.isPending}
      problem={act.error}
      cmd={cmd}
      onConfirm={() => act.mutate({ body })}
    >
      <Text size="sm">
        {kind === 'clone' ? w.cloneText : w.moveText} {'time' in from && w.cloneAt(f.dateTime(from.time))}
      </Text>
      {machines.length > 1 && <NativeSelect label={w.ofMachine} value={name} onChange={(e) => ask({ ...asked, machine: e.currentTarget.value, as: undefined })} data={machines.map((m) => m.name)} />}
      <NativeSelect label={w.to} value={site} onChange={(e) => ask({ ...asked, to: e.currentTarget.value })} data={places} error={fieldError(act.error, 'to')} />
      <TextInput label={w.as} value={as} onChange={(e) => ask({ ...asked, as: e.currentTarget.value })} required autoComplete="off" spellCheck={false} error={fieldError(act.error, 'as')} />
      {[...new Set((machine?.nics ?? []).map((n) => n.network))].map((n) => (
        <TextInput
          key={n}
          label={w.nets(n)}
          description={w.netsText}
          placeholder={n}
          value={asked.networks[n] ?? ''}
          onChange={(e) => ask({ ...asked, networks: { ...asked.networks, [n]: e.currentTarget.value } })}
          autoComplete="off"
          spellCheck={false}
        />
      ))}
      {kind === 'clone' && <Checkbox label={w.startIt} checked={asked.start} onChange={(e) => ask({ ...asked, start: e.currentTarget.checked })} />}
    </Confirm>
  );
}
