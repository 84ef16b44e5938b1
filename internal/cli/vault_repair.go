package cli

import (
	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/keyring"
)

// repaired is what vault repair says of one group.
type repaired struct {
	Group string `json:"group"`
	Owner bool   `json:"owner"` // was made anew
	Epoch uint64 `json:"epoch,omitempty"`
	Marks bool   `json:"marks"` // were made anew: names are lost
}

func (a *App) vaultRepairCommand() *cobra.Command {
	var f vaultFlags
	var site string
	cmd := &cobra.Command{
		Use: "repair [--vault] DIR [--group NAME] [--site NAME]", Short: "Make damaged notes of who owns a group and which objects count anew",
		Long: `Make the small objects anew that say who owns a group and which of its objects count, where they are damaged. Recovery
points are not touched, and sound notes are left as they are. A new owner is of the site where the group's machines run now
(for files that were protected without a controller: files); whoever was writing for another has to take the group over.
With damaged marks the names of points are lost.`,
		Example: "  understudy vault repair ./v --group shop --site east", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.take(args)
			var list []repaired
			err := a.eachGroup(cmd.Context(), f, func(v *keyring.Opened, group string) error {
				r, err := v.Repair(cmd.Context(), group, site)
				list = append(list, repaired{group, r.Owner, r.Epoch, r.Marks})
				return err
			})
			if err != nil {
				return err
			}
			if !a.Human() {
				return out.List(a.Printer, list, func(r repaired) string { return r.Group }, "")
			}
			for _, r := range list {
				switch {
				case r.Owner:
					a.Line("%s: has an owner again, site %s at epoch %d", r.Group, site, r.Epoch)
				case !r.Marks:
					a.Line("%s: nothing was to be repaired", r.Group)
				}
				if r.Marks {
					a.Line("%s: has marks again; points with a name are to be named again", r.Group)
				}
			}
			if len(list) == 0 {
				a.Note("nothing is in this vault yet")
				return nil
			}
			a.Note("see that all is well: understudy vault verify %s", shellQuote(f.vault))
			return nil
		},
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&site, "site", "", "the site where the group's machines run now")
	return cmd
}
