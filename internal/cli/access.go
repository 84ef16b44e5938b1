package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"understudy/internal/access"
	"understudy/internal/access/password"
	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
)

// readPassword takes a password from the first line of a file, or of standard input when it is "-".
func (a *App) readPassword(file string) (string, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(a.In, 4096))
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return "", dr.WithHint(fmt.Errorf("read the password: %w", err), dr.KindInvalid, "--password-file FILE, or - for standard input")
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	return line, password.Check(line)
}

func grantsText(list []wire.RoleGrant) string {
	text := make([]string, len(list))
	for i, g := range list {
		text[i] = g.Role + " " + g.Scope
	}
	return strings.Join(text, ", ")
}

// roleFlags are --role and --scope.
type roleFlags struct{ role, scope string }

func (f *roleFlags) add(cmd *cobra.Command, role string) {
	cmd.Flags().StringVar(&f.role, "role", role, "viewer, drill-runner, failover-approver, operator or admin")
	cmd.Flags().StringVar(&f.scope, "scope", string(access.Everywhere), "where: *, site:NAME or group:NAME")
}

func (f roleFlags) grant() (wire.RoleGrant, error) {
	g := access.Grant{Role: access.Role(f.role), Scope: access.Scope(f.scope)}
	return wire.RoleGrant{Role: f.role, Scope: f.scope}, access.Grants{g}.Validate()
}

func (a *App) userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Who may use the controller, and what for"}
	remove := a.removeCommand("Remove a user, with the user's sessions and tokens", "user", (*client.Client).RemoveUser)
	cmd.AddCommand(a.userAddCommand(), a.userListCommand(), a.userGrantCommand(), a.userPasswordCommand(), remove)
	return cmd
}

func (a *App) removeCommand(short, noun string, remove func(*client.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := remove(api, cmd.Context(), args[0]); err != nil {
				return err
			}
			a.Note("removed %s %s", noun, args[0])
			return nil
		},
	}
}

func (a *App) printUser(v wire.User) error {
	return out.One(a.Printer, v, v.Name, out.Field{Title: "Name", Text: v.Name}, out.Field{Title: "Roles", Text: grantsText(v.Grants)},
		out.Field{Title: "Last login", Text: timeText(v.LastLogin)})
}

func (a *App) userAddCommand() *cobra.Command {
	var role roleFlags
	var file string
	cmd := &cobra.Command{
		Use: "add NAME [--role ROLE] [--scope SCOPE] [--password-file FILE]", Short: "Add a user", Args: cobra.ExactArgs(1),
		Example: "  understudy user add ann --role operator --scope group:shop --password-file -",
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := role.grant()
			if err != nil {
				return err
			}
			u := wire.UserChange{Grants: []wire.RoleGrant{g}}
			if file != "" {
				if u.Password, err = a.readPassword(file); err != nil {
					return err
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if _, err := c.ShowUser(cmd.Context(), args[0]); err == nil {
				return dr.WithHint(fmt.Errorf("user %s exists", args[0]), dr.KindConflict, "understudy user grant "+args[0]+" ROLE SCOPE")
			} else if dr.KindOf(err) != dr.KindNotFound {
				return err
			}
			v, err := c.PutUser(cmd.Context(), args[0], u)
			if err != nil {
				return err
			}
			if u.Password == "" {
				a.Note("%s has no password and cannot log in yet: understudy user password %s --password-file FILE", v.Name, v.Name)
			}
			return a.printUser(v)
		},
	}
	role.add(cmd, string(access.Viewer))
	cmd.Flags().StringVar(&file, "password-file", "", "file with the password in its first line; - is standard input. Without it the user cannot log in yet")
	return cmd
}

func (a *App) userListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List users", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListUsers(cmd.Context())
			if err != nil {
				return fmt.Errorf("list users: %w", err)
			}
			return out.List(a.Printer, list, func(u wire.User) string { return u.Name }, "no users: the file bootstrap-token in the controller's folder makes the first",
				out.Col("NAME", func(u wire.User) string { return u.Name }),
				out.Col("ROLES", func(u wire.User) string { return grantsText(u.Grants) }),
				out.Col("LAST LOGIN", func(u wire.User) string { return timeText(u.LastLogin) }))
		},
	}
}

func (a *App) userGrantCommand() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "grant NAME ROLE [SCOPE] [--remove]", Short: "Give a user a role, everywhere or in a scope, or take it away", Args: cobra.RangeArgs(2, 3),
		Example: "  understudy user grant ann drill-runner group:shop\n  understudy user grant ann admin --remove",
		RunE: func(cmd *cobra.Command, args []string) error {
			role := roleFlags{args[1], string(access.Everywhere)}
			if len(args) == 3 {
				role.scope = args[2]
			}
			g, err := role.grant()
			if err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			u, err := api.ShowUser(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			u.Grants = slices.DeleteFunc(u.Grants, func(have wire.RoleGrant) bool { return have == g })
			if !remove {
				u.Grants = append(u.Grants, g)
			}
			v, err := api.PutUser(cmd.Context(), args[0], wire.UserChange{Grants: u.Grants})
			if err != nil {
				return fmt.Errorf("grant %s %s: %w", args[0], args[1], err)
			}
			return a.printUser(v)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take it away")
	return cmd
}

func (a *App) userPasswordCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "password NAME [--password-file FILE]", Short: "Set a user's password; the user's sessions end", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := a.readPassword(file)
			if err != nil {
				return err
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.SetPassword(cmd.Context(), args[0], wire.PasswordChange{Password: secret}); err != nil {
				return fmt.Errorf("set the password of %s: %w", args[0], err)
			}
			a.Note("set the password of %s", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "password-file", "-", "file with the password in its first line; - is standard input")
	return cmd
}

func (a *App) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Tokens for programs that use the API"}
	revoke := a.removeCommand("End a token", "token", (*client.Client).RemoveToken)
	revoke.Use = "revoke NAME"
	cmd.AddCommand(a.tokenCreateCommand(), a.tokenListCommand(), revoke)
	return cmd
}

func (a *App) tokenCreateCommand() *cobra.Command {
	var role roleFlags
	var ttl string
	cmd := &cobra.Command{
		Use: "create NAME [--role ROLE] [--scope SCOPE] [--ttl 90d]", Short: "Make a token and print its secret, which cannot be had again", Args: cobra.ExactArgs(1),
		Example: "  understudy token create prometheus --role viewer --ttl 365d",
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := role.grant()
			if err != nil {
				return err
			}
			q := wire.TokenRequest{Name: args[0], Grants: []wire.RoleGrant{g}}
			if ttl != "" {
				if err := q.TTL.UnmarshalText([]byte(ttl)); err != nil {
					return fmt.Errorf("--ttl: %w", err)
				}
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			v, err := api.AddToken(cmd.Context(), q)
			if err != nil {
				return fmt.Errorf("make token %s: %w", args[0], err)
			}
			if a.Human() {
				a.Note("keep it: it is not shown again")
				a.Line("%s", v.Secret)
				return nil
			}
			return out.One(a.Printer, v, v.Secret)
		},
	}
	role.add(cmd, string(access.Viewer))
	cmd.Flags().StringVar(&ttl, "ttl", "", "how long it lasts (default: until it is revoked)")
	return cmd
}

func (a *App) tokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListTokens(cmd.Context())
			if err != nil {
				return fmt.Errorf("list tokens: %w", err)
			}
			return out.List(a.Printer, list, func(t wire.Token) string { return t.Name }, "no tokens",
				out.Col("NAME", func(t wire.Token) string { return t.Name }),
				out.Col("ROLES", func(t wire.Token) string { return grantsText(t.Grants) }),
				out.Col("OWNER", func(t wire.Token) string { return t.Owner }),
				out.Col("EXPIRES", func(t wire.Token) string { return timeText(t.Expires) }))
		},
	}
}
