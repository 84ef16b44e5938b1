package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"understudy/internal/access"
	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/store"
)

func (a *App) approvalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "approval", Aliases: []string{"approvals"}, Short: "What one person asked for and another has to allow"}
	cmd.AddCommand(a.approvalListCommand(), a.decideCommand("approve", "Approve what another person asked for; the same request passes once then", true),
		a.decideCommand("reject", "Reject it, or withdraw what you asked for yourself", false))
	return cmd
}

func (a *App) approvalListCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list [--all]", Short: "List what waits for another person", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.AllApprovals(cmd.Context(), client.ListApprovalsQuery{All: all})
			if err != nil {
				return fmt.Errorf("list approvals: %w", err)
			}
			return out.List(a.Printer, list, func(v wire.Approval) string { return v.ID }, "nothing waits for another person",
				out.Col("ID", func(v wire.Approval) string { return v.ID }),
				out.Col("BY", func(v wire.Approval) string { return v.By }),
				out.Col("TO", func(v wire.Approval) string { return v.About }),
				out.Col("STATE", func(v wire.Approval) string { return v.State }),
				out.Col("EXPIRES", func(v wire.Approval) string { return timeText(&v.Expires) }))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what does not wait any more")
	return cmd
}

func (a *App) decideCommand(verb, short string, approve bool) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: verb + " ID [--note TEXT]", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			decide := api.RejectApproval
			if approve {
				decide = api.ApproveApproval
			}
			v, err := decide(cmd.Context(), args[0], wire.Decision{Note: note})
			if err != nil {
				return fmt.Errorf("%s %s: %w", verb, args[0], err)
			}
			return out.One(a.Printer, v, v.ID, out.Field{Title: "To", Text: v.About}, out.Field{Title: "Asked by", Text: v.By},
				out.Field{Title: "State", Text: v.State}, out.Field{Title: "Expires", Text: timeText(&v.Expires)})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why")
	return cmd
}

func (a *App) auditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Who did what: the audit log"}
	cmd.AddCommand(a.auditListCommand(), a.auditVerifyCommand(), &cobra.Command{
		Use: "export", Short: "Write the whole audit log, an entry a line, with the hash of its text", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			if err := api.ExportAudit(cmd.Context(), a.Out); err != nil {
				return fmt.Errorf("export the audit log: %w", err)
			}
			return nil
		},
	})
	return cmd
}

func (a *App) auditListCommand() *cobra.Command {
	var q client.ListAuditQuery
	cmd := &cobra.Command{
		Use: "list [--actor NAME] [--verb VERB] [--object OBJECT] [--result RESULT] [--limit 100]", Short: "List the audit log, the newest first", Args: cobra.NoArgs,
		Example: "  understudy audit list --object group:shop --result refused",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			list, err := api.ListAudit(cmd.Context(), q)
			if err != nil {
				return fmt.Errorf("list the audit log: %w", err)
			}
			return out.List(a.Printer, list, func(e wire.AuditEntry) string { return strconv.FormatInt(e.Sequence, 10) }, "no entries",
				out.Num("ENTRY", func(e wire.AuditEntry) string { return strconv.FormatInt(e.Sequence, 10) }),
				out.Col("TIME", func(e wire.AuditEntry) string { return timeText(&e.Time) }),
				out.Col("ACTOR", func(e wire.AuditEntry) string { return e.Actor }),
				out.Col("OPERATION", func(e wire.AuditEntry) string { return e.Operation }),
				out.Col("OBJECT", func(e wire.AuditEntry) string { return e.Object }),
				out.Col("RESULT", func(e wire.AuditEntry) string { return e.Result }),
				out.Col("DETAIL", func(e wire.AuditEntry) string { return e.Detail }))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Actor, "actor", "", "only what this one asked for")
	flags.StringVar(&q.Verb, "verb", "", "only what needs this verb")
	flags.StringVar(&q.Object, "object", "", "only what is about this, such as group:shop")
	flags.StringVar(&q.Result, "result", "", "only begun, done, refused, waits, failed or gap")
	flags.Int64Var(&q.Limit, "limit", 100, "how many at most")
	return cmd
}

func (a *App) auditVerifyCommand() *cobra.Command {
	var offline bool
	var expect []string
	cmd := &cobra.Command{
		Use: "verify [--offline] [--expect SEQUENCE:HASH]", Short: "Read the whole audit log, and find what was changed or removed", Args: cobra.NoArgs,
		Long: `Read the whole audit log, and find what was changed, removed or put in between. It prints the log's head: kept elsewhere and given
to a later verification with --expect, it shows that the log was written anew. With --offline the file in the controller's folder is read, also
while no controller runs.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var heads []access.Head
			for _, text := range expect {
				head, err := access.ParseHead(text)
				if err != nil {
					return dr.WithHint(err, dr.KindInvalid, "an earlier verification printed it")
				}
				heads = append(heads, head)
			}
			v, err := a.verifyAudit(cmd.Context(), offline, heads)
			if err != nil {
				return fmt.Errorf("verify the audit log: %w", err)
			}
			if err := out.One(a.Printer, v, v.Head, out.Field{Title: "Entries", Text: strconv.FormatInt(v.Entries, 10)}, out.Field{Title: "Head", Text: v.Head}); err != nil {
				return err
			}
			for _, f := range v.Findings {
				a.Line("%s", f)
			}
			if !v.Intact {
				return dr.WithHint(fmt.Errorf("the audit log is not as it was written: %d findings", len(v.Findings)), dr.KindCorrupt,
					"compare it with an earlier export")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "read the file in the controller's folder")
	cmd.Flags().StringArrayVar(&expect, "expect", nil, "a head that was printed before")
	return cmd
}

func (a *App) verifyAudit(ctx context.Context, offline bool, heads []access.Head) (wire.AuditVerification, error) {
	if !offline {
		api, err := a.client()
		if err != nil {
			return wire.AuditVerification{}, err
		}
		var q client.VerifyAuditQuery
		for _, h := range heads {
			q.Expect = append(q.Expect, h.String())
		}
		return api.VerifyAudit(ctx, q)
	}
	dir, err := a.dataDir()
	if err != nil {
		return wire.AuditVerification{}, err
	}
	head, err := controller.ReadAuditHead(dir)
	if err != nil {
		return wire.AuditVerification{}, err
	}
	if head != nil {
		heads = append(heads, *head)
	}
	v, err := store.VerifyAuditFile(ctx, filepath.Join(dir, "state.db"), heads)
	return wire.FromVerifier(v), err
}
