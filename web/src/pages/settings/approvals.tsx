// What one person asked for and another has to allow.
import { Group, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import { Link } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Cli } from '../../ui/cli';
import { Deed } from '../../ui/may';
import { Loaded, Section } from '../../ui/page';
import { ProblemNote } from '../../ui/problem';
import { Time } from '../../ui/time';
import { settings as words } from './messages';

export function Approvals() {
  const w = useMessages(words);
  const list = useGet('/v1/approvals');
  const approve = useAct('post', '/v1/approvals/{name}/approve');
  const reject = useAct('post', '/v1/approvals/{name}/reject');
  const [note, setNote] = useState('');
  return (
    <Loaded from={list}>
      {(data) => {
        const wanted = data.filter((a) => a.state === 'wanted');
        return (
          <Section title={w.approvals}>
            <Stack>
              <Text size="sm" className="dim">
                {wanted.length === 0 ? w.noApprovals : w.approvalsText}
              </Text>
              <ProblemNote problem={approve.error ?? reject.error} />
              {wanted.map((a) => {
                const decide = { path: { name: a.id }, body: { note: note || undefined } };
                return (
                  <div key={a.id} className="note warn">
                    <Stack gap="xs">
                      <Text fw={600}>
                        {a.by}: {a.about} {a.group && <Link to={`/groups/${a.group}`}>{a.group}</Link>}
                      </Text>
                      <Text size="sm">
                        {w.asked} <Time at={a.requested} ago /> · {w.expires} <Time at={a.expires} short />
                      </Text>
                      <TextInput label={w.note} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
                      <Group>
                        {!a.mine && (
                          <Deed verb="approve" on={{ group: a.group, sites: a.sites }} loading={approve.isPending} onClick={() => approve.mutate(decide)}>
                            {w.approve}
                          </Deed>
                        )}
                        <Deed verb={a.mine ? 'self' : 'approve'} variant="default" loading={reject.isPending} onClick={() => reject.mutate(decide)}>
                          {w.reject}
                        </Deed>
                      </Group>
                      <Cli cmd={`understudy approval approve ${a.id}`} />
                    </Stack>
                  </div>
                );
              })}
            </Stack>
          </Section>
        );
      }}
    </Loaded>
  );
}
