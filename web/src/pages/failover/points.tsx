// Which recovery point: the newest of a kind, or one from the timeline.
import { Group, Radio, Stack, Text } from '@mantine/core';
import { useGet } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { Loaded } from '../../ui/page';
import { Time, useNow } from '../../ui/time';
import { Timeline } from '../points/timeline';
import { failover as words } from './messages';

const none: ReadonlySet<string> = new Set();

export function Points({ group, value, onChange }: { group: string; value: string; onChange: (point: string) => void }) {
  const w = useMessages(words);
  const now = useNow();
  const points = useGet('/v1/groups/{name}/points', { path: { name: group } });
  const status = useGet('/v1/groups/{name}/status', { path: { name: group } });
  const proven = new Set(status.data?.provenPoint ? [status.data.provenPoint] : []);
  return (
    <Loaded from={points}>
      {(list) => {
        const newest = list.at(-1);
        const application = list.findLast((p) => p.kind === 'application');
        const named = value === 'latest' || value === 'latest-application' ? undefined : list.find((p) => p.id === value || p.names?.includes(value));
        const ways = [
          { value: 'latest', label: w.latest, text: w.latestText, point: newest },
          { value: 'latest-application', label: w.application, text: w.applicationText, point: application },
        ];
        return (
          <Stack>
            <Radio.Group value={named ? '' : value} onChange={onChange} aria-label={w.point}>
              <Stack gap="xs">
                {ways.map((way) => (
                  <Radio.Card key={way.value} value={way.value} p="sm" radius="md" disabled={!way.point}>
                    <Group wrap="nowrap" align="start">
                      <Radio.Indicator />
                      <div>
                        <Text fw={600}>{way.label}</Text>
                        <Text size="sm" className="dim">
                          {way.point ? (
                            <>
                              <Time at={way.point.time} short /> (<Time at={way.point.time} ago />) · {way.text}
                            </>
                          ) : (
                            w.none
                          )}
                        </Text>
                      </div>
                    </Group>
                  </Radio.Card>
                ))}
              </Stack>
            </Radio.Group>
            <div>
              <Text size="sm" fw={600} mb={6}>
                {w.chosen}
              </Text>
              <Timeline points={list} proven={proven} gone={none} now={now} chosen={named} onChoose={(p) => onChange(p.id)} />
              {named && (
                <Text size="sm">
                  <Time at={named.time} /> · {named.kind} · {named.names?.join(', ')} <span className="dim">{named.id}</span>
                </Text>
              )}
            </div>
          </Stack>
        );
      }}
    </Loaded>
  );
}
