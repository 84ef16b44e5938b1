// What happened, and who asked for what.
import { Button, Group, SegmentedControl, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useAnswer, useGet } from '../../api/query';
import { useMay } from '../../api/session';
import { Link, useSearch } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Fact, type Tone } from '../../ui/badge';
import { Cli } from '../../ui/cli';
import { Loaded, Page } from '../../ui/page';
import { ProblemNote } from '../../ui/problem';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { activity as words } from './messages';

export default function Activity() {
  const w = useMessages(words);
  const may = useMay();
  const [search, change] = useSearch();
  const shown = search.get('show') === 'audit' ? 'audit' : 'events';
  return (
    <Page title={w.title}>
      <SegmentedControl
        value={shown}
        onChange={(v) => change({ show: v === 'audit' ? v : undefined, before: undefined, q: undefined })}
        data={[
          { value: 'events', label: w.events },
          { value: 'audit', label: w.audit },
        ]}
        w="fit-content"
      />
      {shown === 'events' ? <Events /> : may('audit') ? <Audit /> : <Text className="dim">{w.noAudit}</Text>}
    </Page>
  );
}

const size = 100;

function Events() {
  const w = useMessages(words);
  const [search, change] = useSearch();
  const q = search.get('q') ?? undefined;
  const group = search.get('group') ?? undefined;
  const before = search.get('before');
  const list = useGet('/v1/events', { query: { q, group, before: before ? Number(before) : undefined, limit: size } });
  return (
    <>
      <Group align="end">
        <Field label={w.search} name="q" />
        <Field label={w.group} name="group" />
      </Group>
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Text className="dim">{q || group || before ? w.none : w.nothingYet}</Text>
          ) : (
            <>
              <Table
                label={w.events}
                rows={data}
                by={(e) => String(e.sequence)}
                columns={[
                  { title: w.when, cell: (e) => <Time at={e.time} short /> },
                  { title: w.kind, cell: (e) => <code>{e.kind}</code> },
                  { title: w.group, cell: (e) => e.group && <Link to={`/groups/${e.group}`}>{e.group}</Link> },
                  { title: w.run, cell: (e) => e.run && <Link to={`/runs/${e.run}`}>{e.run}</Link> },
                  { title: w.message, cell: (e) => e.message },
                ]}
              />
              {data.length === size && (
                <Button variant="default" onClick={() => change({ before: String(data.at(-1)?.sequence) })} w="fit-content">
                  {w.older}
                </Button>
              )}
            </>
          )
        }
      </Loaded>
    </>
  );
}

/** A filter that is in the address, and asked for when it is left. */
function Field({ label, name }: { label: string; name: string }) {
  const [search, change] = useSearch();
  const value = search.get(name) ?? '';
  return <TextInput key={value} label={label} defaultValue={value} onBlur={(e) => change({ [name]: e.currentTarget.value, before: undefined, after: undefined })} onKeyDown={(e) => e.key === 'Enter' && e.currentTarget.blur()} spellCheck={false} w={220} />;
}

const tones: Record<string, Tone> = { done: 'good', begun: 'busy', refused: 'warn', waits: 'warn', failed: 'bad', gap: 'bad' };

function Audit() {
  const w = useMessages(words);
  const [search, change] = useSearch();
  const actor = search.get('actor') ?? undefined;
  const object = search.get('object') ?? undefined;
  const after = search.get('after');
  const list = useAnswer('/v1/audit', { query: { actor, object, after: after ? Number(after) : undefined, limit: size } });
  const [verifying, verify] = useState(false);
  const verified = useGet('/v1/audit/verify', {}, { enabled: verifying });
  return (
    <>
      <Group align="end">
        <Field label={w.actor} name="actor" />
        <Field label={w.object} name="object" />
        <Button variant="default" loading={verifying && verified.isFetching} onClick={() => (verifying ? void verified.refetch() : verify(true))}>
          {w.verify}
        </Button>
        <Button variant="default" component="a" href="/v1/audit/export" download="audit.jsonl">
          {w.exported}
        </Button>
      </Group>
      <ProblemNote problem={verified.error} />
      {verified.data && (
        <div className={verified.data.intact ? 'note busy' : 'note bad'} role="status">
          <Stack gap={4}>
            <Text fw={600}>{verified.data.intact ? w.intact(verified.data.entries) : w.broken}</Text>
            {verified.data.findings.map((f) => (
              <Text size="sm" key={f}>
                {f}
              </Text>
            ))}
            {verified.data.head && (
              <Text size="sm">
                {w.head}: <code style={{ overflowWrap: 'anywhere' }}>{verified.data.head}</code> {w.headText}
              </Text>
            )}
          </Stack>
        </div>
      )}
      <Loaded from={list}>
        {({ data }) =>
          data.length === 0 ? (
            <Text className="dim">{actor || object || after ? w.none : w.nothingAsked}</Text>
          ) : (
            <>
              <Table
                label={w.audit}
                rows={data}
                by={(e) => String(e.sequence)}
                columns={[
                  { title: w.when, cell: (e) => <Time at={e.time} short /> },
                  { title: w.actor, cell: (e) => e.actor || '–' },
                  { title: w.operation, cell: (e) => <code>{e.operation}</code> },
                  { title: w.object, cell: (e) => e.object },
                  { title: w.result, cell: (e) => <Fact tone={tones[e.result] ?? 'idle'}>{w[e.result]}</Fact> },
                  { title: w.run, cell: (e) => e.run && <Link to={`/runs/${e.run}`}>{e.run}</Link> },
                  { title: w.address, cell: (e) => e.address },
                  { title: w.message, cell: (e) => e.detail },
                ]}
              />
              {data.length === size && (
                <Button variant="default" onClick={() => change({ after: String(data.at(-1)?.sequence) })} w="fit-content">
                  {w.older}
                </Button>
              )}
            </>
          )
        }
      </Loaded>
      <Cli cmd="understudy audit verify" />
    </>
  );
}
