import { Button, Center, Loader } from '@mantine/core';
import { Component, type ReactNode, Suspense, useEffect } from 'react';
import { useQueryClient } from '@tanstack/react-query';
import { watchConnection } from '../api/connection';
import { useSession } from '../api/session';
import { listen } from '../api/stream';
import { useMessages } from '../i18n/i18n';
import { Empty } from '../ui/empty';
import { ProblemNote } from '../ui/problem';
import { Login } from './login';
import { frame } from './messages';
import { match } from './match';
import { follow, useLocation } from './router';
import { routes } from './routes';
import { Shell } from './shell';

export function App() {
  const session = useSession();
  const all = useQueryClient();
  const signedIn = !!session.data;
  useEffect(() => watchConnection(() => void all.invalidateQueries()), [all]);
  useEffect(() => (signedIn ? listen(all) : undefined), [all, signedIn]);
  // A session that ended shows itself by a refusal.
  useEffect(
    () =>
      all.getQueryCache().subscribe((e) => {
        if (e.type === 'updated' && e.action.type === 'error' && (e.action.error as { status?: number }).status === 401 && e.query.queryKey[0] !== '/v1/session')
          void all.invalidateQueries({ queryKey: ['/v1/session'] });
      }),
    [all],
  );
  if (session.isPending)
    return (
      <Center h="100vh">
        <Loader />
      </Center>
    );
  if (session.error)
    return (
      <Center h="100vh" p="md">
        <ProblemNote problem={session.error} again={() => void session.refetch()} />
      </Center>
    );
  if (!session.data) return <Login />;
  return (
    <Shell session={session.data}>
      <Pages />
    </Shell>
  );
}

function Pages() {
  const { pathname } = useLocation();
  for (const { path, page: Page } of routes) {
    const params = match(path, pathname);
    if (params)
      return (
        <Guard key={pathname}>
          <Suspense
            fallback={
              <Center py={60}>
                <Loader />
              </Center>
            }
          >
            <Page params={params} />
          </Suspense>
        </Guard>
      );
  }
  return <NotFound />;
}

function NotFound() {
  const w = useMessages(frame);
  return (
    <Empty
      title={w.notFound}
      action={
        <Button component="a" href="/" onClick={follow('/')}>
          {w.home}
        </Button>
      }
    >
      {w.notFoundText}
    </Empty>
  );
}

/** Keeps the frame when a page fails. */
class Guard extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};
  static getDerivedStateFromError(error: Error) {
    return { error };
  }
  override render() {
    return this.state.error ? <Failed error={this.state.error} /> : this.props.children;
  }
}

function Failed({ error }: { error: Error }) {
  const w = useMessages(frame);
  return (
    <Empty title={w.failed} action={<Button onClick={() => location.reload()}>{w.reload}</Button>}>
      {error.message}
    </Empty>
  );
}
