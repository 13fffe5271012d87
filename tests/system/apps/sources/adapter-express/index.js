// The application `adapter-express` of test_layers: Express as anywhere.
const express = require('express');
const app = express();
app.get('/', (req, res) => res.json({hello: 'world'}));
app.get('/items/:id', (req, res) => res.json({item_id: req.params.id, q: req.query.q}));
app.post('/echo', express.raw({type: '*/*', limit: '10mb'}), (req, res) => res.type(req.headers['content-type']).send(req.body));
app.get('/stream', async (req, res) => {
  res.type('text/plain');
  for (let number = 0; number < 4; number++) {
    res.write(`line ${number}\n`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  res.end();
});
app.listen(process.env.PORT, '127.0.0.1');
