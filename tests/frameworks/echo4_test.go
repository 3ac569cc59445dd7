package frameworks

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

func newEcho4(d *deps) http.Handler {
	sessions, users := d.sessions, d.users
	visit := func(c echo.Context) error {
		return c.String(http.StatusOK, fmt.Sprint(d.visit(c.Request().Context())))
	}
	protected := echo.WrapHandler(http.HandlerFunc(d.protected))
	e := echo.New()
	e.Use(middleware.Recover(), middleware.Gzip())
	e.Use(echo.WrapMiddleware(sessions.LoadAndSave))
	e.GET("/visit", visit)
	e.POST("/login", echo.WrapHandler(users.Login()))
	e.POST("/logout", echo.WrapHandler(users.Logout()))
	e.GET("/protected", protected, echo.WrapMiddleware(users.Restricted))

	e.Logger.SetOutput(discard{})
	e.GET("/panic", func(c echo.Context) error { d.visit(c.Request().Context()); panic("a mistake") })
	e.GET("/error", func(c echo.Context) error {
		d.visit(c.Request().Context())
		return echo.NewHTTPError(http.StatusConflict, "in conflict")
	})
	return e
}
