import { Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';
import { Cli } from './cli';

/** Shown where there is nothing yet: what would be here, and the next step. */
export function Empty({ title, children, cmd, action, icon }: { title: string; children?: ReactNode; cmd?: string; action?: ReactNode; icon?: ReactNode }) {
  return (
    <Stack className="sheet" align="center" gap="sm" py={40} px="md" ta="center">
      {icon}
      <Title order={2}>{title}</Title>
      {children && (
        <Text className="dim" maw={520} component="div">
          {children}
        </Text>
      )}
      {action}
      {cmd && (
        <div style={{ width: '100%', maxWidth: 640, textAlign: 'start' }}>
          <Cli cmd={cmd} />
        </div>
      )}
    </Stack>
  );
}
