import { Button, Group, Modal, Stack, TextInput } from '@mantine/core';
import { type ReactNode, useState } from 'react';
import { useMessages } from '../i18n/i18n';
import { Cli } from './cli';
import { ProblemNote } from './problem';
import { words } from './words';

interface Props {
  opened: boolean;
  onClose: () => void;
  title: string;
  /** What the button says: the deed, not "OK". */
  action: string;
  onConfirm: () => void;
  busy?: boolean;
  problem?: Error | null;
  /** What has to be typed for a deed that cannot be undone: the name of what it is done to. */
  typed?: string;
  danger?: boolean;
  cmd?: string;
  children?: ReactNode;
}

/** Asks before something is done. Stays open, with the problem, when it fails. */
export function Confirm({ opened, onClose, title, action, onConfirm, busy, problem, typed, danger, cmd, children }: Props) {
  const w = useMessages(words);
  const [text, setText] = useState('');
  const ready = !typed || text === typed;
  const close = () => {
    setText('');
    onClose();
  };
  return (
    <Modal.Root opened={opened} onClose={close} centered>
      <Modal.Overlay />
      <Modal.Content>
        <Group justify="space-between" wrap="nowrap" px="md" pt="md" pb="xs">
          <Modal.Title fw={650}>{title}</Modal.Title>
          <Modal.CloseButton aria-label={w.close} />
        </Group>
        <Modal.Body>
          <form
            onSubmit={(e) => {
              e.preventDefault();
              if (ready && !busy) onConfirm();
            }}
          >
            <Stack>
              {children}
              {typed && <TextInput label={w.type(typed)} value={text} onChange={(e) => setText(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus />}
              <ProblemNote problem={problem} />
              {cmd && <Cli cmd={cmd} />}
              <Group justify="flex-end">
                <Button variant="default" onClick={close}>
                  {w.cancel}
                </Button>
                <Button type="submit" color={danger ? 'red.8' : undefined} disabled={!ready} loading={busy}>
                  {action}
                </Button>
              </Group>
            </Stack>
          </form>
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
