// Takes a disk of a recovery point out: as a file, or over NBD for a time; and who does so now.
import { Group, NativeSelect, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { type Problem, refusal, type Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { Cli, quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { ProblemNote } from '../../ui/problem';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { takeout as words } from './messages';

interface Props {
  group: string;
  point: Schemas['RecoveryPoint'];
  onClose: () => void;
}

/** The disks of a point, and the one that is chosen. */
function useDisks({ group, point }: Props) {
  const asked = useGet('/v1/groups/{name}/points/{point}/machines', { path: { name: group, point: point.id } });
  const disks = (asked.isPlaceholderData ? [] : (asked.data ?? [])).flatMap((m) => m.disks.map((d) => ({ machine: m.name, disk: d.name, size: d.size, role: d.role, id: `${m.name}/${d.name}` })));
  const [id, choose] = useState('');
  // What the hypervisor boots a machine from, such as a kernel, is carried along like a disk, and seldom what is looked for.
  return { disks, chosen: disks.find((d) => d.id === id) ?? disks.find((d) => !d.role) ?? disks[0], choose, error: asked.error };
}

function Choice({ disks, chosen, choose }: Pick<ReturnType<typeof useDisks>, 'disks' | 'chosen' | 'choose'>) {
  const w = useMessages(words);
  const f = useFormat();
  return <NativeSelect label={w.disk} value={chosen?.id ?? ''} onChange={(e) => choose(e.currentTarget.value)} data={disks.map((d) => ({ value: d.id, label: `${d.id} (${f.bytes(d.size)})` }))} />;
}

const formats = ['qcow2', 'raw', 'vhd'] as const;

export function Restore(props: Props) {
  const { group, point, onClose } = props;
  const w = useMessages(words);
  const f = useFormat();
  const { disks, chosen, choose, error } = useDisks(props);
  const [format, setFormat] = useState<(typeof formats)[number]>('qcow2');
  const n = encodeURIComponent;
  const href = chosen && `/v1/groups/${n(group)}/points/${n(point.id)}/disks/${n(chosen.machine)}/${n(chosen.disk)}?format=${format}`;
  const file = chosen && `${chosen.machine}-${chosen.disk}-${point.id}.${format}`;
  const begin = useMutation<void, Problem>({
    mutationFn: async () => {
      if (!href || !file) return;
      // A download that is refused says nothing in a browser: the first byte tells.
      const first = await fetch(href, { headers: { Range: 'bytes=0-0' } });
      if (!first.ok) throw refusal(first, await first.json());
      const a = document.createElement('a');
      a.href = href;
      a.download = file;
      a.click();
      onClose();
    },
  });
  return (
    <Confirm
      opened
      onClose={onClose}
      title={w.restoreTitle}
      action={w.download}
      busy={begin.isPending}
      problem={begin.error ?? error}
      cmd={chosen && `understudy restore --group ${quote(group)} --point ${quote(point.id)} --disk ${quote(chosen.id)} --format ${format} ${quote(file ?? '')}`}
      onConfirm={() => begin.mutate()}
    >
      <Text size="sm">{w.restoreText(f.dateTime(point.time))}</Text>
      <Choice disks={disks} chosen={chosen} choose={choose} />
      <NativeSelect label={w.format} description={{ qcow2: w.ofQcow2, raw: w.ofRaw, vhd: w.ofVhd }[format]} value={format} onChange={(e) => setFormat(e.currentTarget.value as typeof format)} data={[...formats]} />
    </Confirm>
  );
}

export function Mount(props: Props) {
  const { group, point, onClose } = props;
  const w = useMessages(words);
  const f = useFormat();
  const { disks, chosen, choose, error } = useDisks(props);
  const [lasts, setLasts] = useState('1h');
  const mount = useAct('post', '/v1/groups/{name}/points/{point}/mounts');
  const m = mount.data;
  if (m)
    return (
      <Confirm opened onClose={onClose} title={w.mounted(m.disk)} action={w.done} onConfirm={onClose}>
        <Text size="sm">
          {w.until} <Time at={m.expires} />. {w.onHost}
        </Text>
        <Stack gap={6}>
          <Cli cmd={`sudo nbd-client -unix ${quote(m.socket)} -N ${quote(m.export)} /dev/nbd0 -readonly`} label={false} />
          <Cli cmd={`qemu-img convert -p -f raw -O qcow2 ${quote(m.uri)} out.qcow2`} label={false} />
        </Stack>
        <Text size="sm" className="dim">{w.secret}</Text>
      </Confirm>
    );
  return (
    <Confirm
      opened
      onClose={onClose}
      title={w.mountTitle}
      action={w.mount}
      busy={mount.isPending}
      problem={mount.error ?? error}
      cmd={chosen && `understudy grant point ${quote(group)} --point ${quote(point.id)} --disk ${quote(chosen.id)} --for ${lasts}`}
      onConfirm={() => chosen && mount.mutate({ path: { name: group, point: point.id }, body: { machine: chosen.machine, disk: chosen.disk, for: lasts } })}
    >
      <Text size="sm">{w.mountText(f.dateTime(point.time))}</Text>
      <Choice disks={disks} chosen={chosen} choose={choose} />
      <NativeSelect label={w.lasts} value={lasts} onChange={(e) => setLasts(e.currentTarget.value)} data={['15m', '1h', '4h', '24h']} />
    </Confirm>
  );
}

/** Who reads disks of the group's points now, with a way to end it. */
export function Readers({ group }: { group: string }) {
  const w = useMessages(words);
  const grants = useGet('/v1/grants');
  const revoke = useAct('delete', '/v1/grants/{name}');
  const list = (grants.data ?? []).filter((g) => g.disk.startsWith(`${group}@`) && !g.ended);
  if (list.length === 0) return null;
  return (
    <>
      <ProblemNote problem={revoke.error} />
      <Table
        title={w.readers}
        label={w.readers}
        rows={list}
        by={(g) => g.id}
        columns={[
          { title: w.disk, cell: (g) => g.disk.slice(group.length + 1) },
          { title: w.who, cell: (g) => g.by || g.run },
          { title: w.ends, cell: (g) => <Time at={g.expires} short /> },
          {
            n: true,
            cell: (g) => (
              <Group justify="end">
                <Deed verb="export" size="compact-sm" variant="default" loading={revoke.isPending && revoke.variables?.path.name === g.id} onClick={() => revoke.mutate({ path: { name: g.id } })}>
                  {w.revoke}
                </Deed>
              </Group>
            ),
          },
        ]}
      />
    </>
  );
}

