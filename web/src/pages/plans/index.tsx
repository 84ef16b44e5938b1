// All recovery plans, and whether a rehearsal proved them.
import { Group } from '@mantine/core';
import { useGet } from '../../api/query';
import { Link, navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Empty } from '../../ui/empty';
import { Fact } from '../../ui/badge';
import { Deed } from '../../ui/may';
import { Loaded, Page } from '../../ui/page';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { plans } from './messages';

export function Verified({ plan }: { plan: { needsVerification: boolean; verifiedVersion?: number } }) {
  const w = useMessages(plans);
  return plan.needsVerification ? (
    <Fact tone="warn" title={plan.verifiedVersion ? w.verifiedText(plan.verifiedVersion) : undefined}>
      {w.needs}
    </Fact>
  ) : (
    <Fact tone="good">{w.verified}</Fact>
  );
}

export default function Plans() {
  const w = useMessages(plans);
  const list = useGet('/v1/plans');
  const create = (
    <Deed verb="protect" onClick={() => navigate('/plans/new')}>
      {w.create}
    </Deed>
  );
  return (
    <Page title={w.title} actions={create}>
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Empty title={w.emptyTitle} action={<Group>{create}</Group>} cmd="understudy plan init GROUP > plan.yaml">
              {w.emptyText}
            </Empty>
          ) : (
            <Table
              label={w.title}
              rows={data}
              by={(p) => p.name}
              columns={[
                { title: w.plan, cell: (p) => <Link to={`/plans/${p.name}`}>{p.name}</Link> },
                { title: w.group, cell: (p) => <Link to={`/groups/${p.group}`}>{p.group}</Link> },
                { title: w.version, n: true, cell: (p) => p.version },
                { title: w.verified, cell: (p) => <Verified plan={p} /> },
                { title: w.updated, cell: (p) => <Time at={p.updated} short /> },
              ]}
            />
          )
        }
      </Loaded>
    </Page>
  );
}
