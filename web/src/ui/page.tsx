import { Breadcrumbs, Center, Group, Loader, Stack, Title } from '@mantine/core';
import { type ReactNode, useEffect } from 'react';
import { Problem } from '../api/client';
import { Link } from '../app/router';
import { useMessages } from '../i18n/i18n';
import { AboutGroup, AboutSites } from './may';
import { ProblemNote } from './problem';
import { words } from './words';

interface PageParts {
  /** The browser's tab has it, too. */
  title: string;
  way?: { to: string; label: string }[];
  /** What can be done with it. */
  actions?: ReactNode;
  badges?: ReactNode;
  /** What its deeds are about: a group, or sites. */
  group?: string;
  sites?: string[];
  children: ReactNode;
}

/** A page. */
export function Page({ title, way = [], actions, badges, group, sites, children }: PageParts) {
  useEffect(() => {
    document.title = `${title} · Understudy`;
  }, [title]);
  const page = (
    <Stack gap="md">
      <Stack gap={6}>
        {way.length > 0 && (
          <Breadcrumbs fz="sm">
            {way.map((w) => (
              <Link key={w.to} to={w.to}>
                {w.label}
              </Link>
            ))}
            <span className="dim">{title}</span>
          </Breadcrumbs>
        )}
        <Group justify="space-between" align="center" gap="sm">
          <Group gap="sm" align="center">
            <Title order={1} style={{ overflowWrap: 'anywhere' }}>
              {title}
            </Title>
            {badges}
          </Group>
          {actions && <Group gap="xs">{actions}</Group>}
        </Group>
      </Stack>
      {children}
    </Stack>
  );
  if (group) return <AboutGroup name={group}>{page}</AboutGroup>;
  return sites ? <AboutSites names={sites}>{page}</AboutSites> : page;
}

interface Asked<T> {
  data: T | undefined;
  error: Error | null;
  isPending: boolean;
  refetch: () => unknown;
}

/** Shows what was asked for: a spinner until it is there, the problem when it is refused. */
export function Loaded<T>({ from, children }: { from: Asked<T>; children: (data: T) => ReactNode }) {
  const w = useMessages(words);
  if (from.data !== undefined)
    return (
      <>
        {/* That nothing can be reached the frame says already. */}
        {from.error && !(from.error instanceof Problem && from.error.status === 0) && <ProblemNote problem={from.error} again={() => void from.refetch()} />}
        {children(from.data)}
      </>
    );
  if (from.error) return <ProblemNote problem={from.error} again={() => void from.refetch()} />;
  return (
    <Center py={60} role="status" aria-label={w.loading}>
      <Loader />
    </Center>
  );
}

/** A part of a page with a heading. */
export function Section({ title, aside, children, flush }: { title?: string; aside?: ReactNode; children: ReactNode; flush?: boolean }) {
  return (
    <section className={flush ? 'sheet flush' : 'sheet'}>
      {title && (
        <Group justify="space-between" gap="xs" {...(flush ? { px: 'md', pt: 'sm', mb: 4 } : { mb: 'sm' })}>
          <Title order={2}>{title}</Title>
          {aside}
        </Group>
      )}
      {children}
    </section>
  );
}

/** What may be wider than the window scrolls by itself, by keyboard, too. */
export function Scroll({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={label}>
      {children}
    </div>
  );
}
