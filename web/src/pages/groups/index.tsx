import { useAnswer } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { Empty } from '../../ui/empty';
import { factsOf, factWords, HealthFact, Lose, RecoverabilityFact, ReplicationFact } from '../../ui/facts';
import { Loaded, Page, Scroll, Section } from '../../ui/page';
import { groups } from './messages';

export default function Groups() {
  const w = useMessages(groups);
  const fw = useMessages(factWords);
  const status = useAnswer('/v1/status');
  return (
    <Page title={w.title}>
      <Loaded from={status}>
        {({ data }) =>
          data.length === 0 ? (
            <Empty title={w.emptyTitle} cmd="understudy protect --group shop --site east --target west --vault main --machine shop-db">
              {w.emptyText}
            </Empty>
          ) : (
            <Section flush>
              <Scroll label={w.title}>
                <table className="table">
                  <thead>
                    <tr>
                      <th>{w.group}</th>
                      <th className="n">{w.lose}</th>
                      <th>{fw.health}</th>
                      <th>{fw.replication}</th>
                      <th>{fw.recoverability}</th>
                      <th>{w.site}</th>
                      <th>{w.target}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.map((s) => {
                      const facts = factsOf(s);
                      return (
                        <tr key={s.group}>
                          <td>{s.group}</td>
                          <td className="n">
                            <Lose seconds={s.loseSeconds} at={status.dataUpdatedAt} />
                          </td>
                          <td>
                            <HealthFact value={facts.health} />
                          </td>
                          <td>
                            <ReplicationFact value={facts.replication} />
                          </td>
                          <td>
                            <RecoverabilityFact value={facts.recoverability} />
                          </td>
                          <td>{s.site}</td>
                          <td>{s.target}</td>
                        </tr>
                      );
                    })}
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
