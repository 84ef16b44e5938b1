import { ActionIcon, CopyButton, Text, Tooltip } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';
import { useMessages } from '../i18n/i18n';
import { words } from './words';

/** The command that does the same, to copy: `<Cli cmd="understudy status" />`. */
export function Cli({ cmd, label = true }: { cmd: string; label?: boolean }) {
  const w = useMessages(words);
  return (
    <div>
      {label && (
        <Text size="xs" className="dim" mb={4}>
          {w.cli}
        </Text>
      )}
      <div className="cli">
        <code tabIndex={0}>{cmd}</code>
        <CopyButton value={cmd}>
          {({ copied, copy }) => (
            <Tooltip label={copied ? w.copied : w.copy}>
              <ActionIcon variant="transparent" c="#e6e9f2" onClick={copy} aria-label={copied ? w.copied : w.copy}>
                {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
              </ActionIcon>
            </Tooltip>
          )}
        </CopyButton>
      </div>
    </div>
  );
}

/** A word of a command line, quoted when a shell would take it apart. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
