// What can be done with a machine: power, clone, move, protect.
import { Text } from '@mantine/core';
import { IconCopy, IconPlayerPlay, IconPlugX, IconPower, IconShieldPlus, IconTransfer } from '@tabler/icons-react';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Deed } from '../../ui/may';
import { Protect } from '../machines/protect';
import { Copy } from './copy';
import { machine as words } from './messages';

type Power = Schemas['Power']['action'];

interface Props {
  row: Schemas['MachineRow'];
  /** What its site says of it, if it answers. */
  machine?: Schemas['Machine'];
}

export function Actions({ row, machine }: Props) {
  const w = useMessages(words);
  const [asks, setAsks] = useState<Power | 'clone' | 'move' | 'protect'>();
  const close = () => setAsks(undefined);
  const power = useAct('post', '/v1/sites/{name}/machines/{machine}/power', { onDone: close });
  const ask = (what: typeof asks) => {
    power.reset();
    setAsks(what);
  };
  const off = row.power === 'off';
  const where = `${quote(row.name)} --site ${quote(row.site)}`;
  const texts: Record<Power, { title: string; action: string; text: string; cmd: string }> = {
    start: { title: w.startTitle(row.name), action: w.start, text: w.startText, cmd: `understudy machine start ${where}` },
    shutdown: { title: w.stopTitle(row.name), action: w.stop, text: w.stopText, cmd: `understudy machine stop ${where}` },
    kill: { title: w.killTitle(row.name), action: w.kill, text: w.killText, cmd: `understudy machine stop ${where} --kill` },
  };
  const does = asks === 'start' || asks === 'shutdown' || asks === 'kill' ? asks : undefined;
  const about = does && texts[does];
  // A machine whose power is unknown may be either.
  return (
    <>
      {!row.group && (
        <Deed verb="protect" size="sm" leftSection={<IconShieldPlus size={16} />} onClick={() => ask('protect')}>
          {w.protect}
        </Deed>
      )}
      {row.power !== 'on' && (
        <Deed verb="power" size="sm" variant="default" leftSection={<IconPlayerPlay size={16} />} onClick={() => ask('start')}>
          {w.start}
        </Deed>
      )}
      {!off && (
        <Deed verb="power" size="sm" variant="default" leftSection={<IconPower size={16} />} onClick={() => ask('shutdown')}>
          {w.stop}
        </Deed>
      )}
      {!off && (
        <Deed verb="power" size="sm" variant="default" leftSection={<IconPlugX size={16} />} onClick={() => ask('kill')}>
          {w.kill}
        </Deed>
      )}
      <Deed verb="copy" size="sm" variant="default" leftSection={<IconCopy size={16} />} onClick={() => ask('clone')}>
        {w.clone}
      </Deed>
      <Deed verb="copy" size="sm" variant="default" leftSection={<IconTransfer size={16} />} reason={row.group ? w.protectedMove : undefined} onClick={() => ask('move')}>
        {w.move}
      </Deed>
      {does && about && (
        <Confirm
          opened
          onClose={close}
          title={about.title}
          action={about.action}
          typed={row.group && does !== 'start' ? row.name : undefined}
          danger={does !== 'start'}
          busy={power.isPending}
          problem={power.error}
          cmd={about.cmd}
          onConfirm={() => power.mutate({ path: { name: row.site, machine: row.name }, body: { action: does } })}
        >
          <Text size="sm">
            {about.text} {row.group && does !== 'start' && w.ownerText(row.group)}
          </Text>
        </Confirm>
      )}
      {asks === 'protect' && <Protect site={row.site} machine={row.name} onClose={close} />}
      {(asks === 'clone' || asks === 'move') && <Copy kind={asks} machines={[machine ?? { name: row.name }]} from={{ site: row.site }} onClose={close} />}
    </>
  );
}
