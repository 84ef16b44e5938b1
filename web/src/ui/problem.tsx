import { Button, Stack, Text } from '@mantine/core';
import { Problem } from '../api/client';
import { Link } from '../app/router';
import { useMessages } from '../i18n/i18n';
import { words } from './words';

/** An error: what happened, what helps, and which fields are meant. */
export function ProblemNote({ problem, again }: { problem: Error | null | undefined; again?: () => void }) {
  const w = useMessages(words);
  if (!problem) return null;
  const p = problem instanceof Problem ? problem : undefined;
  return (
    <div className="note bad" role="alert">
      <Stack gap={6}>
        <Text fw={600} className="bad">
          {p?.status === 0 ? w.unreachable : problem.message}
        </Text>
        {p?.fields.map((f) => (
          <Text size="sm" key={f.location + f.message}>
            {f.location && <code>{f.location.replace(/^body\./, '')}</code>} {f.message}
          </Text>
        ))}
        {p?.hint && (
          <Text size="sm">
            {w.hint}: {p.hint}
          </Text>
        )}
        {p?.kind === 'approval-wanted' && (
          <Link to="/settings?tab=approvals" underline="always" fz="sm" w="fit-content">
            {w.approvals}
          </Link>
        )}
        {again && (
          <Button size="xs" variant="default" w="fit-content" onClick={again}>
            {w.retry}
          </Button>
        )}
      </Stack>
    </div>
  );
}

/** The message for one field of a form: `<TextInput error={fieldError(act.error, 'rpo')} />`. */
export function fieldError(problem: Error | null | undefined, field: string): string | undefined {
  if (!(problem instanceof Problem)) return undefined;
  return problem.fields.find((f) => f.location === `body.${field}`)?.message;
}
