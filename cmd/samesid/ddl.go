package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/samesid/samesid/backends/sqlite"
)

func (a *app) ddl() *cobra.Command {
	return &cobra.Command{
		Use:   "ddl",
		Short: "Print the SQL of the store's tables and indexes",
		Long: `ddl prints the SQL that makes the table of the configured layout with its indexes, and those of
userPath, for a migration that a role with the right to do so runs. It does not connect.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.load(a.config)
			if err != nil {
				return err
			}
			b, err := c.Store.Backend(sqlite.Backend)
			if err != nil {
				return err
			}
			tables, ok := c.Store.Options.(interface {
				DDL(users []string) (string, error)
			})
			if !ok {
				fmt.Fprintf(a.err, "%s needs no tables\n", b.Title)
				return a.print(map[string]string{"sql": ""}, "")
			}
			var users []string
			if c.Options.UserPath != "" {
				users = strings.Split(c.Options.UserPath, ".")
			}
			sql, err := tables.DDL(users)
			if err != nil {
				return err
			}
			return a.print(map[string]string{"sql": sql}, "%s", strings.TrimSuffix(sql, "\n"))
		},
	}
}
