// The frame around all pages: navigation, what is running, language, colours, who is signed in.
import { ActionIcon, AppShell, Badge, Burger, Button, Group, Menu, NavLink, ScrollArea, Text, UnstyledButton, useMantineColorScheme, VisuallyHidden } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconActivity, IconAlertTriangle, IconDeviceDesktop, IconLanguage, IconLogout, IconMoon, IconSun, IconUser } from '@tabler/icons-react';
import { type ReactNode, useEffect } from 'react';
import { useConnection } from '../api/connection';
import { useGet } from '../api/query';
import { type Session, useSignOut } from '../api/session';
import { type Language, languages, useLanguage, useMessages } from '../i18n/i18n';
import { useFormat } from '../ui/format';
import { RunTitle } from '../ui/run';
import { Time } from '../ui/time';
import { frame } from './messages';
import { match } from './match';
import { follow, useLocation } from './router';
import { names, routes } from './routes';

export function Shell({ session, children }: { session: Session; children: ReactNode }) {
  const w = useMessages(frame);
  const n = useMessages(names);
  const [opened, { toggle, close }] = useDisclosure();
  const { pathname } = useLocation();
  const connection = useConnection();
  const f = useFormat();
  useEffect(close, [pathname]);
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 216, breakpoint: 'sm', collapsed: { mobile: !opened } }} padding={{ base: 'sm', sm: 'lg' }}>
      <a className="skip" href="#content">
        {w.skip}
      </a>
      <AppShell.Header px="md" style={{ background: 'var(--sheet)' }}>
        <Group h="100%" justify="space-between" wrap="nowrap" gap="xs">
          <Group gap="xs" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={w.menu} aria-expanded={opened} />
            <UnstyledButton component="a" href="/" onClick={follow('/')} aria-label="Understudy">
              <Group gap={8} wrap="nowrap">
                <img src="/favicon.svg" alt="" width={26} height={26} />
                <Text fw={680} visibleFrom="xs" style={{ letterSpacing: '-0.01em' }}>
                  Understudy
                </Text>
              </Group>
            </UnstyledButton>
          </Group>
          <Group gap={6} wrap="nowrap">
            <Running />
            <LanguageMenu />
            <SchemeMenu />
            <UserMenu session={session} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" style={{ background: 'var(--sheet)' }} aria-label={w.nav}>
        <ScrollArea>
          {routes
            .filter((r) => r.name)
            .map(({ path, name, icon: Icon }) => {
              const here = path === '/' ? pathname === '/' : pathname === path || pathname.startsWith(`${path}/`);
              return (
                <NavLink
                  key={path}
                  href={path}
                  onClick={(e) => {
                    follow(path)(e);
                    close();
                  }}
                  label={name && n[name]}
                  leftSection={Icon && <Icon size={18} stroke={1.7} />}
                  active={here}
                  aria-current={here ? 'page' : undefined}
                  color="curtain"
                  style={{ borderRadius: 8 }}
                />
              );
            })}
        </ScrollArea>
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1} style={{ outline: 'none' }}>
        {!connection.reachable && (
          <div className="note bad" role="alert" style={{ marginBottom: 16 }}>
            <Group gap="xs" wrap="nowrap">
              <IconAlertTriangle size={20} className="bad" aria-hidden style={{ flex: 'none' }} />
              <Text size="sm">{w.lost(f.short(connection.heard))}</Text>
            </Group>
          </div>
        )}
        <div style={{ maxWidth: 1320, margin: '0 auto' }}>{children}</div>
      </AppShell.Main>
    </AppShell>
  );
}

/** What is running, on every page. */
function Running() {
  const w = useMessages(frame);
  const runs = useGet('/v1/runs', { query: { active: true, limit: 100 } });
  const list = runs.data ?? [];
  const waiting = list.filter((r) => r.state === 'waiting').length;
  const { reachable } = useConnection();
  const text = !reachable ? w.unknown : waiting ? w.waiting(waiting) : w.running(list.length);
  const hasPage = routes.some((r) => match(r.path, '/runs/x'));
  return (
    <Menu position="bottom-end" width={360} shadow="md">
      <Menu.Target>
        <Button
          variant={waiting ? 'filled' : list.length ? 'light' : 'subtle'}
          color={waiting ? '#a84300' : list.length ? 'curtain' : 'gray'}
          size="compact-sm"
          leftSection={<IconActivity size={16} />}
          title={text}
          px={8}
          h={32}
        >
          <Text span inherit visibleFrom="sm">
            {text}
          </Text>
          <Text span inherit hiddenFrom="sm">
            {reachable ? waiting || list.length : '?'}
            <VisuallyHidden> {text}</VisuallyHidden>
          </Text>
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{w.runs}</Menu.Label>
        {list.length === 0 && (
          <Text size="sm" className="dim" px="sm" py="xs">
            {w.idle}
          </Text>
        )}
        {list.slice(0, 12).map((r) => (
          <Menu.Item
            key={r.id}
            component={hasPage ? 'a' : 'div'}
            {...(hasPage ? { href: `/runs/${r.id}`, onClick: follow(`/runs/${r.id}`) } : {})}
            rightSection={
              r.state === 'waiting' ? (
                <Badge color="#a84300" size="sm" tt="none">
                  {w.waits}
                </Badge>
              ) : undefined
            }
          >
            <RunTitle run={r} />
            <Text size="xs" className="dim">
              <Time at={r.started ?? r.requested} ago />
            </Text>
          </Menu.Item>
        ))}
        {hasPage && (
          <>
            <Menu.Divider />
            <Menu.Item component="a" href="/runs" onClick={follow('/runs')}>
              {w.allRuns}
            </Menu.Item>
          </>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}

export function LanguageMenu() {
  const w = useMessages(frame);
  const { language, choose } = useLanguage();
  return (
    <Menu position="bottom-end" shadow="md">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size={32} aria-label={w.language}>
          <IconLanguage size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {Object.entries(languages).map(([id, name]) => (
          <Menu.Item key={id} lang={id} onClick={() => choose(id as Language)} fw={id === language ? 650 : undefined} aria-current={id === language}>
            {name}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

export function SchemeMenu() {
  const w = useMessages(frame);
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const schemes = { light: [w.light, IconSun], dark: [w.dark, IconMoon], auto: [w.auto, IconDeviceDesktop] } as const;
  const Icon = schemes[colorScheme][1];
  return (
    <Menu position="bottom-end" shadow="md">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size={32} aria-label={w.theme}>
          <Icon size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {(['light', 'dark', 'auto'] as const).map((s) => {
          const [label, I] = schemes[s];
          return (
            <Menu.Item key={s} leftSection={<I size={16} />} onClick={() => setColorScheme(s)} fw={s === colorScheme ? 650 : undefined} aria-current={s === colorScheme}>
              {label}
            </Menu.Item>
          );
        })}
      </Menu.Dropdown>
    </Menu>
  );
}

function UserMenu({ session }: { session: Session }) {
  const w = useMessages(frame);
  const signOut = useSignOut();
  return (
    <Menu position="bottom-end" shadow="md">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size={32} aria-label={w.signedIn(session.user)}>
          <IconUser size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{w.signedIn(session.user)}</Menu.Label>
        {session.grants.map((g) => (
          <Text key={g.role + g.scope} size="sm" px="sm">
            {g.role}
            {g.scope !== '*' && <span className="dim"> · {g.scope}</span>}
          </Text>
        ))}
        <Menu.Divider />
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void signOut()}>
          {w.signOut}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
