// Who is told, who may do what, and what waits for a second person.
import { Tabs } from '@mantine/core';
import { useSearch } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Page } from '../../ui/page';
import { Approvals } from './approvals';
import { settings as words } from './messages';
import { Notifications } from './notifications';
import { Tokens } from './tokens';
import { Users } from './users';

export default function Settings() {
  const w = useMessages(words);
  const [search, change] = useSearch();
  const tabs = { notifications: Notifications, people: Users, tokens: Tokens, approvals: Approvals };
  const names = Object.keys(tabs) as (keyof typeof tabs)[];
  const tab = names.find((n) => n === search.get('tab')) ?? 'notifications';
  return (
    <Page title={w.title}>
      <Tabs value={tab} onChange={(t) => change({ tab: t ?? undefined })} keepMounted={false}>
        <Tabs.List mb="md">
          {names.map((n) => (
            <Tabs.Tab key={n} value={n}>
              {w[n]}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {names.map((n) => {
          const Content = tabs[n];
          return (
            <Tabs.Panel key={n} value={n}>
              <Content />
            </Tabs.Panel>
          );
        })}
      </Tabs>
    </Page>
  );
}
