// Which recovery point: the newest of a kind, or one from the timeline.
import { Group, Radio, Stack, Text } from '@mantine/core';
import { useGet } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { Loaded } from '../../ui/page';
import { Time } from '../../ui/time';
import { PointStrip } from '../../ui/strip';
import { failover as words } from './messages';

export function Points({ group, value, onChange }: { group: string; value: string; onChange: (point: string) => void }) {
  const w = useMessages(words);
  const points = useGet('/v1/groups/{name}/points', { path: { name: group } });
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
              <PointStrip points={list} value={named?.id} onPick={(p) => onChange(p.id)} />
            </div>
          </Stack>
        );
      }}
    </Loaded>
  );
}
