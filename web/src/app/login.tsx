// Signing in; and the first administrator, who is made with the token that the controller wrote when it started.
import { Button, Center, Divider, Group, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { ask, type Problem } from '../api/client';
import { useGet } from '../api/query';
import { messages, useMessages } from '../i18n/i18n';
import { Cli } from '../ui/cli';
import { ProblemNote } from '../ui/problem';
import { LanguageMenu, SchemeMenu } from './shell';

const words = messages({
  en: {
    title: 'Sign in', first: 'Make the first administrator', firstText: 'Nobody can sign in yet. The controller wrote a one-time token into its data folder when it started; whoever can read it makes the first administrator.',
    user: 'User', password: 'Password', token: 'One-time token', twelve: 'At least 12 characters', go: 'Sign in', make: 'Make administrator', or: 'or', with: (name: string) => `Sign in with ${name}`, read: 'Read the token on the controller’s machine',
  },
  ja: {
    title: 'サインイン', first: '最初の管理者を作成', firstText: 'まだ誰もサインインできません。コントローラーは起動時に一度限りのトークンをデータフォルダーに書き込みました。それを読める人が最初の管理者を作成します。',
    user: 'ユーザー', password: 'パスワード', token: '一度限りのトークン', twelve: '12 文字以上', go: 'サインイン', make: '管理者を作成', or: 'または', with: (name) => `${name} でサインイン`, read: 'コントローラーのマシンでトークンを表示',
  },
  fr: {
    title: 'Connexion', first: 'Créer le premier administrateur', firstText: 'Personne ne peut encore se connecter. Le contrôleur a écrit à son démarrage un jeton à usage unique dans son dossier de données ; qui peut le lire crée le premier administrateur.',
    user: 'Utilisateur', password: 'Mot de passe', token: 'Jeton à usage unique', twelve: 'Au moins 12 caractères', go: 'Se connecter', make: 'Créer l’administrateur', or: 'ou', with: (name) => `Se connecter avec ${name}`, read: 'Lire le jeton sur la machine du contrôleur',
  },
});

export function Login() {
  const w = useMessages(words);
  const all = useQueryClient();
  const methods = useGet('/v1/login-methods');
  const first = methods.data?.bootstrap === true;
  const [token, setToken] = useState('');
  const [user, setUser] = useState('');
  const [password, setPassword] = useState('');
  const enter = useMutation<unknown, Problem>({
    mutationFn: async () => {
      if (first) await ask('post', '/v1/bootstrap', { body: { token, user, password } });
      else await ask('post', '/v1/session', { body: { user, password } });
    },
    onSuccess: () => all.resetQueries(),
  });
  if (methods.isPending) return null;
  return (
    <Center mih="100vh" p="md">
      <Stack w="100%" maw={400} gap="lg">
        <Group component="header" justify="space-between">
          <Group gap="sm">
            <img src="/favicon.svg" alt="" width={36} height={36} />
            <Text fw={680} fz="xl">
              Understudy
            </Text>
          </Group>
          <Group gap={4}>
            <LanguageMenu />
            <SchemeMenu />
          </Group>
        </Group>
        <main className="sheet">
          <form
            onSubmit={(e) => {
              e.preventDefault();
              enter.mutate();
            }}
          >
            <Stack>
              <Title order={1}>{first ? w.first : w.title}</Title>
              {first && (
                <>
                  <Text size="sm" className="dim">
                    {w.firstText}
                  </Text>
                  <Cli cmd="cat DATA/bootstrap-token" label={false} />
                  <TextInput label={w.token} value={token} onChange={(e) => setToken(e.currentTarget.value)} required autoComplete="off" spellCheck={false} />
                </>
              )}
              <TextInput label={w.user} value={user} onChange={(e) => setUser(e.currentTarget.value)} required autoComplete="username" spellCheck={false} autoFocus={!first} />
              <PasswordInput
                label={w.password}
                description={first ? w.twelve : undefined}
                value={password}
                onChange={(e) => setPassword(e.currentTarget.value)}
                required
                autoComplete={first ? 'new-password' : 'current-password'}
              />
              <ProblemNote problem={enter.error ?? methods.error} />
              <Button type="submit" loading={enter.isPending} fullWidth>
                {first ? w.make : w.go}
              </Button>
              {methods.data?.oidc.map(({ name, url }) => (
                <Stack key={name} gap="xs">
                  <Divider label={w.or} />
                  <Button component="a" href={`${url}?return=${encodeURIComponent(location.pathname + location.search)}`} variant="default">
                    {w.with(name)}
                  </Button>
                </Stack>
              ))}
            </Stack>
          </form>
        </main>
      </Stack>
    </Center>
  );
}
