// What a drill kept of its machines: screens and consoles.
import { Anchor, SimpleGrid, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { fetchJSON, type Problem } from '../../api/client';
import { useMessages } from '../../i18n/i18n';
import { Loaded, Section } from '../../ui/page';
import { Time } from '../../ui/time';
import { run as words } from './messages';

interface Item {
  machine: string;
  kind: 'screen' | 'console';
  file?: string;
  time?: string;
  missing?: string;
}

interface Report {
  evidence?: (Item & { data?: string })[];
}

export function Evidence({ run }: { run: string }) {
  const w = useMessages(words);
  const at = `/v1/runs/${encodeURIComponent(run)}`;
  const report = useQuery<Report, Problem>({ queryKey: ['/v1/runs/{name}/report', run], queryFn: () => fetchJSON(`${at}/report?format=json`), staleTime: Infinity });
  return (
    <Section title={w.evidence}>
      <Loaded from={report}>
        {({ evidence = [] }) => (
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            {evidence.map((e) => {
              const label = e.kind === 'screen' ? w.screen(e.machine) : w.console(e.machine);
              const file = e.file && `${at}/evidence/${encodeURIComponent(e.file)}`;
              return (
                <Stack key={e.machine + e.kind} gap={4}>
                  <Text size="sm" fw={550}>
                    {label} {e.time && <Time at={e.time} short />}
                  </Text>
                  {!file && (
                    <Text size="sm" className="dim">
                      {w.missing}: {e.missing}
                    </Text>
                  )}
                  {file && e.kind === 'screen' && (
                    <a href={file} target="_blank" rel="noopener">
                      <img src={file} alt={label} style={{ width: '100%', borderRadius: 8, border: '1px solid var(--hair)' }} />
                    </a>
                  )}
                  {file && e.kind === 'console' && <Console data={e.data} label={label} file={file} />}
                </Stack>
              );
            })}
          </SimpleGrid>
        )}
      </Loaded>
    </Section>
  );
}

/** The last of a console; the whole of it is a click away. */
function Console({ data, label, file }: { data?: string; label: string; file: string }) {
  const text = data ? new TextDecoder().decode(Uint8Array.from(atob(data), (c) => c.charCodeAt(0))) : '';
  return (
    <>
      <pre className="console" tabIndex={0} aria-label={label}>
        {text.slice(-4000)}
      </pre>
      <Anchor href={file} target="_blank" rel="noopener" size="sm">
        {label}
      </Anchor>
    </>
  );
}
