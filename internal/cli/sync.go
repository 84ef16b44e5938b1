package cli

import (
	"github.com/spf13/cobra"

	"understudy/internal/api/client"
	"understudy/internal/cli/out"
)

func (a *App) syncCommand() *cobra.Command {
	var consistent bool
	cmd := a.groupCommand("sync", "Replicate now and wait for it", "", func(cmd *cobra.Command, api *client.Client, group string) error {
		a.OnInterrupt("the cycle goes on; see `understudy status %s`", group)
		c, err := api.Sync(cmd.Context(), group, client.SyncQuery{Consistent: consistent})
		if err != nil {
			return err
		}
		if !a.Human() {
			return out.One(a.Printer, c, c.Point)
		}
		kind := ""
		if consistent {
			kind = c.Consistency + " consistent, "
		}
		if c.Point == "" {
			a.Line("%s: unchanged; %schecked in %s", group, kind, out.Seconds(c.Seconds))
		} else {
			a.Line("%s: %s, point %s; %sread %s, changed %s, stored %s in %s", group, c.Kind, c.Point, kind, out.Bytes(c.Read),
				out.Bytes(c.Changed), out.Bytes(c.Stored), out.Seconds(c.Seconds))
		}
		if c.SkewSeconds > 0 {
			a.Note("the disks are of moments within %s", out.Seconds(c.SkewSeconds))
		}
		if c.Shortfall != "" {
			a.Note("less consistent than asked for: %s", c.Shortfall)
		}
		return nil
	})
	cmd.Flags().BoolVar(&consistent, "consistent", false, "freeze the guests for a point that is consistent for file systems, and for applications where there are hooks")
	return cmd
}
