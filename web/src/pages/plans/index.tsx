// All recovery plans, and whether a rehearsal proved them.
import { Group } from '@mantine/core';
import { useGet } from '../../api/query';
import { Link, navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Empty } from '../../ui/empty';
import { Fact } from '../../ui/badge';
import { Deed } from '../../ui/may';
import { Loaded, Page, Scroll, Section } from '../../ui/page';
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
            <Section flush>
              <Scroll label={w.title}>
                <table className="table">
                  <thead>
                    <tr>
                      <th>{w.plan}</th>
                      <th>{w.group}</th>
                      <th className="n">{w.version}</th>
                      <th>{w.verified}</th>
                      <th>{w.updated}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.map((p) => (
                      <tr key={p.name}>
                        <td>
                          <Link to={`/plans/${p.name}`}>{p.name}</Link>
                        </td>
                        <td>
                          <Link to={`/groups/${p.group}`}>{p.group}</Link>
                        </td>
                        <td className="n">{p.version}</td>
                        <td>
                          <Verified plan={p} />
                        </td>
                        <td>
                          <Time at={p.updated} short />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            </Section>
          )
        }
      </Loaded>
    </Page>
  );
}
