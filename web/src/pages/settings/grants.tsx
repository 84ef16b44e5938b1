// Rights: pairs of a role and a scope.
import { ActionIcon, Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { IconPlus, IconX } from '@tabler/icons-react';
import type { Schemas } from '../../api/client';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { settings as words } from './messages';

export type Grant = Schemas['RoleGrant'];
const roles: Grant['role'][] = ['viewer', 'drill-runner', 'failover-approver', 'operator', 'admin'];

export function Grants({ value, onChange }: { value: Grant[]; onChange: (grants: Grant[]) => void }) {
  const w = useMessages(words);
  const set = (i: number, g: Partial<Grant>) => onChange(value.map((old, n) => (n === i ? { ...old, ...g } : old)));
  return (
    <Stack gap="xs" role="group" aria-label={w.grants}>
      {value.map((g, i) => (
        <Group key={i} gap="xs" align="end" wrap="nowrap">
          <Select label={w.role} data={roles} value={g.role} onChange={(v) => v && set(i, { role: v as Grant['role'] })} allowDeselect={false} />
          <TextInput label={w.scope} value={g.scope} onChange={(e) => set(i, { scope: e.currentTarget.value })} spellCheck={false} style={{ flex: 1 }} />
          <ActionIcon variant="default" size={36} aria-label={w.remove} onClick={() => onChange(value.filter((_, n) => n !== i))}>
            <IconX size={16} />
          </ActionIcon>
        </Group>
      ))}
      <ActionIcon variant="default" size={36} aria-label={w.add} onClick={() => onChange([...value, { role: 'viewer', scope: '*' }])}>
        <IconPlus size={16} />
      </ActionIcon>
    </Stack>
  );
}

export function GrantList({ grants }: { grants: Grant[] }) {
  return (
    <>
      {grants.map((g) => (
        <Text size="sm" key={g.role + g.scope}>
          {g.role} <span className="dim">{g.scope}</span>
        </Text>
      ))}
    </>
  );
}

/** The first of rights as the commands take it; they give others one at a time. */
export function grantFlags(grants: Grant[]): string {
  const [first] = grants;
  return first ? ` --role ${first.role}${first.scope === '*' ? '' : ` --scope ${quote(first.scope)}`}` : '';
}
