package samesidgin_test

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/frameworks/gin"
)

func Example() {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		log.Fatal(err)
	}
	users, err := auth.New(sessions, auth.Passwords(findUser), auth.Options{})
	if err != nil {
		log.Fatal(err)
	}
	protected := func(c *gin.Context) { c.String(http.StatusOK, "You are authorized") }

	r := gin.New()
	r.Use(gin.Logger(), gin.CustomRecoveryWithWriter(nil, recovered))
	r.Use(samesidgin.Sessions(sessions))
	r.GET("/", func(c *gin.Context) {
		n := sessions.GetInt(c.Request.Context(), "visits") + 1
		sessions.Put(c.Request.Context(), "visits", n)
		c.String(http.StatusOK, "visit %d", n)
	})

	r.POST("/login", gin.WrapH(users.Login()))
	r.POST("/logout", gin.WrapH(users.Logout()))
	r.GET("/protected", samesidgin.Wrap(users.Restricted), protected)

	account := r.Group("/account", samesidgin.Wrap(users.Restricted))
	account.GET("", protected)
	account.POST("/password", samesidgin.Wrap(users.Fresh(5*time.Minute)), protected)
	// Output:
}

// Only one group has sessions: the other routes read none from the store.
func Example_group() {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		log.Fatal(err)
	}
	users, err := auth.New(sessions, auth.Passwords(findUser), auth.Options{})
	if err != nil {
		log.Fatal(err)
	}
	protected := func(c *gin.Context) { c.String(http.StatusOK, "You are authorized") }
	status := func(c *gin.Context) { c.String(http.StatusOK, "ok") }

	r := gin.New()
	r.Use(gin.Logger(), gin.CustomRecoveryWithWriter(nil, recovered))
	api := r.Group("/api") // without sessions
	api.GET("/status", status)

	web := r.Group("/web", samesidgin.Sessions(sessions))
	web.POST("/login", gin.WrapH(users.Login()))
	account := web.Group("/account", samesidgin.Wrap(users.Restricted))
	account.GET("", protected)
	// Output:
}

// recovered answers after a panic. gin.Recovery would log the request's cookies.
func recovered(c *gin.Context, p any) {
	slog.ErrorContext(c.Request.Context(), "a handler panicked", "panic", p, "route", c.FullPath(), "stack", string(debug.Stack()))
	c.AbortWithStatus(http.StatusInternalServerError)
}

// findUser is in place of a database.
func findUser(context.Context, string) (user, hash string, err error) { return "", "", auth.ErrInvalid }
