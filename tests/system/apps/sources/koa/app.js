const Koa = require('koa'); const Router = require('@koa/router'); const body = require('koa-bodyparser'); const serverless = require('serverless-http');
const app = new Koa(); const router = new Router();
router.get('/', ctx => { ctx.body = 'koa ' + JSON.stringify(ctx.query); ctx.cookies.set('k', 'v'); ctx.cookies.set('l', 'w'); });
router.get('/h/:name', ctx => { ctx.body = {name: ctx.params.name, q: ctx.query}; });
router.post('/b', ctx => { ctx.body = ctx.request.body; });
app.use(body()).use(router.routes());
exports.handler = serverless(app);
