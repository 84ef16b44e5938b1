package cli

import (
	"github.com/spf13/cobra"

	"understudy/internal/registry"
)

// internalCommand holds what the program starts of itself.
func (a *App) internalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "internal", Short: "Parts that the program starts of itself", Hidden: true}
	var socket string
	lan := &cobra.Command{
		Use: "lan-switch --socket PATH", Short: "Run the network switch of a qemu site", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf(cmd, true, "socket"); err != nil {
				return err
			}
			return registry.LANSwitch(cmd.Context(), socket)
		},
	}
	lan.Flags().StringVar(&socket, "socket", "", "the unix socket to serve on")
	cmd.AddCommand(lan, a.connectCommand())
	return cmd
}
