// A drill, begun now: by the recovery plan where there is one, so that the plan is proven, too.
import { Select, Text } from '@mantine/core';
import { IconSchool } from '@tabler/icons-react';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import { links } from '../../app/links';
import { navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Deed } from '../../ui/may';
import { group as words } from './messages';

export function Drill({ group }: { group: string }) {
  const w = useMessages(words);
  const [asks, ask] = useState(false);
  const plans = useGet('/v1/plans', { query: { group } });
  const [chosen, choose] = useState<string>();
  const names = (plans.data ?? []).map((p) => p.name);
  const plan = (chosen ?? names[0]) || undefined;
  const drill = useAct('post', '/v1/groups/{name}/drill', {
    onDone: (run) => {
      ask(false);
      const to = links.run(run.id);
      if (to) navigate(to);
    },
  });
  return (
    <>
      <Deed verb="test-failover" variant="default" size="sm" leftSection={<IconSchool size={16} />} onClick={() => ask(true)}>
        {w.drill}
      </Deed>
      <Confirm
        opened={asks}
        onClose={() => ask(false)}
        title={w.drill}
        action={w.drill}
        busy={drill.isPending}
        problem={drill.error}
        cmd={`understudy drill run ${quote(group)}${plan ? ` --plan ${quote(plan)}` : ''}`}
        onConfirm={() => drill.mutate({ path: { name: group }, body: { plan } })}
      >
        <Text size="sm">{w.drillText}</Text>
        {names.length > 0 && <Select label={w.plan} data={[...names, { value: '', label: w.noPlan }]} value={plan ?? ''} onChange={(v) => choose(v ?? '')} allowDeselect={false} />}
      </Confirm>
    </>
  );
}
